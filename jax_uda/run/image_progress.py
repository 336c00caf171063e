"""Progress over images, with an estimate in words where it takes long."""

import time

from tqdm import tqdm

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say

LONG = 60  # seconds: shorter passes are not announced
MEASURED = 3  # batches behind the first, which compiles


class Progress:
  """A bar on the terminal, and a line for the log once the first images have shown their pace.

  Use as a context manager.
  """

  def __init__(self, total: int, title: str):
    """Takes the number of images, and what is done with them."""
    self._title, self._total = title, total
    self._bar = tqdm(
      total=total,
      desc=title,
      unit=" images",
      mininterval=0.5,
      disable=not mesh_lib.is_main_process(),
    )
    self._done, self._batches = 0, 0
    self._start = (0.0, 0)  # time and images behind the first batch

  def __enter__(self) -> "Progress":
    """Returns itself."""
    return self

  def __exit__(self, *_) -> None:
    """Closes the bar."""
    self._bar.close()

  def add(self, number: int) -> None:
    """Counts the images of a batch that is done."""
    self._done += number
    self._batches += 1
    self._bar.update(number)
    if self._batches == 1:
      self._start = (time.perf_counter(), self._done)
    if self._batches == 1 + MEASURED:
      seconds = time.perf_counter() - self._start[0]
      per_image = seconds / (self._done - self._start[1])
      self._announce(per_image * (self._total - self._done), per_image)

  def _announce(self, seconds: float, per_image: float) -> None:
    if seconds > LONG:
      say(
        f"{self._title}: {self._total} images, about {seconds / 60:.0f} min at {per_image:.2g} s per image"
      )
