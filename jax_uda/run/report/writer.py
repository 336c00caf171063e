"""Scalars of a run as JSON lines; with tensorboardX also TensorBoard files, with figures and texts."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_uda.common import disk_errors
from jax_uda.run.report import event_files, metric_lines


def _event_writer(folder: pathlib.Path, resume_step: int) -> Any:
  """A tensorboardX writer that hides events after `resume_step`, or None without the package.

  Nor is there one without a writable /dev/shm, as in some containers: it needs semaphores.
  """
  try:
    import tensorboardX

    place = event_files.register(folder)
    # Its flush() does not wait for the thread that writes, so a short interval has to do.
    return tensorboardX.SummaryWriter(place, purge_step=resume_step + 1, flush_secs=10)
  except ImportError:
    return None
  except OSError as error:
    print(f"no TensorBoard files: {error} (has this machine a writable /dev/shm?)", flush=True)
    return None


def has_scores(folder: pathlib.Path, step: int) -> bool:
  """Whether the metrics in `folder` hold an evaluation at that step."""
  rows = metric_lines.read(folder).rows
  return any(row["step"] == step and any("miou/" in name for name in row) for row in rows)


class MetricWriter:
  """Writes `metrics.jsonl` and TensorBoard events. Use as a context manager.

  A run that continues from step k drops what was written after k, so that each step occurs once. A line of
  scalars reaches its file at once, TensorBoard events after some seconds.
  """

  def __init__(self, folder: pathlib.Path, *, resume_step: int = 0):
    """Opens the files in an existing folder; `resume_step` is the step from which the run continues."""
    metric_lines.keep_until(folder, resume_step)
    self._file = folder / metric_lines.FILE
    with disk_errors.naming(self._file):
      self._lines = self._file.open("a")
    self._events = _event_writer(folder / "tensorboard", resume_step)

  def __enter__(self) -> "MetricWriter":
    """Returns itself."""
    return self

  def __exit__(self, *_) -> None:
    """Closes the files."""
    self.close()

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds the scalars of one step; a value that is not finite is null in the JSON lines."""
    row = {name: float(value) if np.isfinite(value) else None for name, value in scalars.items()}
    with disk_errors.naming(self._file):
      self._lines.write(metric_lines.to_line({"step": step, **row}))
      self._lines.flush()
    if self._events:
      for name, value in scalars.items():
        self._events.add_scalar(name, value, step)

  def write_image(self, step: int, name: str, image: np.ndarray) -> None:
    """Adds a figure, uint8 [H,W,3], to TensorBoard."""
    if self._events:
      self._events.add_image(name, image, step, dataformats="HWC")

  def write_text(self, step: int, name: str, text: str) -> None:
    """Adds a text in Markdown to TensorBoard, e.g. a table."""
    if self._events:
      self._events.add_text(name, text, step)

  def close(self) -> None:
    """Flushes and closes the files.

    Raises:
      OSError: The lines cannot be written, e.g. because the disk is full.
    """
    if self._events:
      self._events.close()
    with disk_errors.naming(self._file):
      self._lines.close()
