"""What a drawing process does with one index. Free of JAX and TFDS."""

import cv2

from jax_uda.data import streets
from jax_uda.data.builders import example


def draw(index: int, *, first: int, domain: str, seed: int, size: tuple[int, int]) -> example.Example:
  """Scene `first + index`, encoded."""
  cv2.setNumThreads(1)  # the processes already share the CPUs
  scene = streets.draw(domain, seed, first + index, size=size)
  return example.encode(scene.image, scene.label, len(streets.CLASSES))
