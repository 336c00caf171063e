"""The log of training steps: collects metrics without waiting, then checks, averages and writes them."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

from jax_uda.common.log import say
from jax_uda.run.report import progress
from jax_uda.run.report.writer import MetricWriter
from jax_uda.step.nonfinite import SKIPPED


class NonFinite(FloatingPointError):
  """A step whose metrics are not finite.

  Attributes:
    step: Its number, that of the state before it.
  """

  def __init__(self, step: int, text: str):
    """Takes the step and what is wrong there."""
    super().__init__(f"step {step}: {text}.")
    self.step = step


def check_finite(rows: list[dict[str, Any]], first_step: int) -> None:
  """Raises NonFinite for the first step with metrics that are not finite, and names these.

  The gradient's norm is among the metrics, so a step that spoils the parameters is caught at once. A step
  that was skipped for that reason spoils nothing.

  Args:
    rows: The metrics of consecutive steps, numbers by name.
    first_step: The step of `rows[0]`.
  """
  for step, row in enumerate(rows, first_step):
    broken = _broken(row)
    if broken and not row.get(SKIPPED):
      raise NonFinite(step, broken)


def _broken(row: dict[str, Any]) -> str:
  """The metrics that are not finite, `loss = nan, …`."""
  names = sorted(name for name, value in row.items() if not np.isfinite(value))
  return ", ".join(f"{name} = {row[name]}" for name in names)


class StepLog:
  """The log of one run. Between flushes it only collects, so that steps queue on the device."""

  def __init__(
    self,
    schedule: optax.Schedule,
    writer: MetricWriter | None,
    first_step: int,
    end_step: int,
    *,
    images_per_step: int,
    max_skips: int = 0,
  ):
    """Takes what is logged besides the metrics, and how many skipped steps in a row are borne.

    Args:
      schedule: Learning rate as a function of the step.
      writer: Receives the means of the metrics, if not None.
      first_step: The first step to come.
      end_step: The number of steps at the end.
      images_per_step: For the speed.
      max_skips: The number of steps in a row that may be skipped.
    """
    self._max_skips, self._skips_in_a_row = max_skips, 0
    self._schedule, self._writer = schedule, writer
    self._done, self._end = first_step, end_step
    self._images_per_step = images_per_step
    self._pending: list[Any] = []
    self._waited = 0.0
    self._saving = 0.0  # seconds since the last flush
    self.start()

  def start(self) -> None:
    """Starts the clock of the current interval, e.g. after compilation."""
    self._since, self._waited = time.perf_counter(), 0.0

  @contextlib.contextmanager
  def waiting_for_data(self) -> Iterator[None]:
    """Counts the time of its body as waiting for data."""
    start = time.perf_counter()
    yield
    self._waited += time.perf_counter() - start

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves the time of its body out of the speed."""
    start = time.perf_counter()
    yield
    self._since += time.perf_counter() - start

  def saved(self, seconds: float) -> None:
    """Notes how long a checkpoint kept the training waiting."""
    self._saving += seconds

  def add(self, metrics: Any) -> None:
    """Adds the metrics of the next step."""
    self._pending.append(metrics)

  def flush(self) -> None:
    """Waits for the steps added so far, checks them, prints a line and writes their means.

    Raises:
      NonFinite: A loss or the gradient is not finite, or too many steps were skipped for that.
    """
    if not self._pending:
      return
    rows, self._pending = jax.device_get(self._pending), []
    check_finite(rows, self._done)
    self._count_skips(rows)
    self._done += len(rows)
    seconds = max(time.perf_counter() - self._since, 1e-9)
    kept = [row for row in rows if not row.get(SKIPPED)] or rows
    means = {name: float(np.mean([row[name] for row in kept])) for name in rows[0]}
    if SKIPPED in means:
      means[SKIPPED] = float(sum(row[SKIPPED] for row in rows))
    speed = {
      "images_per_second": len(rows) * self._images_per_step / seconds,
      "data_wait_fraction": min(self._waited / seconds, 1.0),
      "learning_rate": float(np.asarray(self._schedule(self._done - 1))),
    }
    if self._saving:
      speed["checkpoint_seconds"], self._saving = self._saving, 0.0
    eta = seconds / len(rows) * (self._end - self._done)
    say(progress.line(self._done, self._end, means, speed, eta))
    if self._writer:
      self._writer.write_scalars(self._done, means | speed)
    self.start()

  def _count_skips(self, rows: list[dict[str, Any]]) -> None:
    """Names the steps that were skipped; raises NonFinite for too many in a row."""
    for step, row in enumerate(rows, self._done):
      if not row.get(SKIPPED):
        self._skips_in_a_row = 0
        continue
      self._skips_in_a_row += 1
      say(f"step {step} skipped: {_broken(row)}")
      if self._skips_in_a_row > self._max_skips:
        raise NonFinite(step, f"{_broken(row)}, after {self._max_skips} skipped steps in a row")
