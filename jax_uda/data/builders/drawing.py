"""Drawing many scenes on all cores.

The worker processes import this module and, with it, NumPy and OpenCV only: nothing here may import
JAX or TFDS.
"""

import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Iterator, Sequence

import cv2

from jax_uda.data import png, streets

FEW_SCENES = 24  # drawn before new processes have started


def _draw(index: int, domain: str, seed: int, size: tuple[int, int]) -> tuple[bytes, bytes]:
  scene = streets.draw(domain, seed, index, size=size)
  return png.encode(scene.image), png.encode(scene.label)


def draw(
  domain: str, seed: int, indices: Sequence[int], size: tuple[int, int]
) -> Iterator[tuple[bytes, bytes]]:
  """PNG bytes of image and label of the scenes with these indices, in this order."""
  draw_one = functools.partial(_draw, domain=domain, seed=seed, size=size)
  workers = min(os.cpu_count() or 1, 32)
  if workers == 1 or len(indices) <= FEW_SCENES:
    yield from map(draw_one, indices)
    return
  # Spawned: a fork of a process with JAX's threads may hang.
  with concurrent.futures.ProcessPoolExecutor(
    workers, multiprocessing.get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
  ) as pool:
    yield from pool.map(draw_one, indices, chunksize=4)
