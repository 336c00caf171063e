"""Drawing many scenes on all cores.

The worker processes import this module and, with it, NumPy and OpenCV only: nothing here may import
JAX or TFDS. As always with `multiprocessing`, they import the main module, too, so a script that trains
needs the guard `if __name__ == "__main__"`.
"""

import concurrent.futures
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from jax_uda.data import streets
from jax_uda.data.datasets import image_files

FEW_SCENES = 24  # drawn before new processes have started


def _draw(
  index: int, domain: str, seed: int, size: tuple[int, int], train_ids: np.ndarray | None
) -> tuple[bytes, bytes]:
  """PNG bytes of the image and the label of one scene."""
  scene = streets.draw(domain, seed, index, size=size)
  label = scene.label if train_ids is None else train_ids[scene.label]
  return image_files.encode_png(scene.image), image_files.encode_png(label)


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None  # this is a worker
  parent.join()
  os._exit(1)


def _start_worker() -> None:
  cv2.setNumThreads(1)  # the processes already share the cores
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner of the pool ends it
  # A pool whose owner was killed would wait for work for ever.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _has_semaphores() -> bool:
  """Whether processes can wait for each other; not without a writable /dev/shm, as in some containers."""
  try:
    multiprocessing.get_context("spawn").Lock()
  except OSError:
    return False
  return True


def draw(
  domain: str,
  seed: int,
  indices: Sequence[int],
  size: tuple[int, int],
  train_ids: np.ndarray | None = None,
) -> Iterator[tuple[bytes, bytes]]:
  """Draws scenes on all cores.

  Args:
    domain: One of `streets.DOMAINS`.
    seed: The seed of the data set.
    indices: The numbers of the scenes.
    size: (height, width) in pixels.
    train_ids: uint8 [256] train id of each drawn class; None keeps the classes as drawn.

  Yields:
    PNG bytes of the image and of the label of each scene, in the order of `indices`.
  """
  draw_one = functools.partial(_draw, domain=domain, seed=seed, size=size, train_ids=train_ids)
  workers = min(os.cpu_count() or 1, 32)
  if workers == 1 or len(indices) <= FEW_SCENES or not _has_semaphores():
    yield from map(draw_one, indices)
    return
  # Spawned: a fork of a process with JAX's threads may hang.
  with concurrent.futures.ProcessPoolExecutor(
    workers, multiprocessing.get_context("spawn"), initializer=_start_worker
  ) as pool:
    yield from pool.map(draw_one, indices, chunksize=4)
