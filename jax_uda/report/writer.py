"""Scalars of a run: JSON lines always, TensorBoard files if tensorboardX is there."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np


def _event_writer(folder: pathlib.Path, resume_step: int):
  """A tensorboardX writer that hides events after `resume_step`, or None without the package."""
  try:
    import tensorboardX
  except ImportError:
    return None
  return tensorboardX.SummaryWriter(str(folder), purge_step=resume_step + 1)


class MetricWriter:
  """Writes `metrics.jsonl` and TensorBoard events. Use as a context manager.

  A run that continues from step k drops what was written after k, so that each step is there once.
  """

  def __init__(self, folder: pathlib.Path, *, resume_step: int = 0):
    """Opens the files in `folder`, which exists; `resume_step` is the step the run continues from."""
    path = folder / "metrics.jsonl"
    kept = []
    if path.exists():
      # A line cut off by a kill is not JSON any more; everything before it is whole.
      for line in path.read_text().splitlines():
        try:
          row = json.loads(line)
        except json.JSONDecodeError:
          break
        if row["step"] <= resume_step:
          kept.append(line + "\n")
    path.write_text("".join(kept))
    self._lines = path.open("a")
    self._events = _event_writer(folder / "tensorboard", resume_step)

  def __enter__(self) -> "MetricWriter":
    """Returns itself."""
    return self

  def __exit__(self, *_) -> None:
    """Closes the files."""
    self._lines.close()
    if self._events:
      self._events.close()

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds the scalars of one step; a value that is not finite is written as null."""
    row = {name: float(value) if np.isfinite(value) else None for name, value in scalars.items()}
    self._lines.write(json.dumps({"step": step, **row}) + "\n")
    self._lines.flush()
    if self._events:
      for name, value in scalars.items():
        self._events.add_scalar(name, value, step)
