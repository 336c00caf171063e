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


def check_finite(rows: list[dict[str, Any]], first_step: int) -> None:
  """Raises FloatingPointError for the first step with metrics that are not finite, and names these.

  The gradient's norm is among the metrics, so a step that spoils the parameters is caught at once.

  Args:
    rows: The metrics of consecutive steps, numbers by name.
    first_step: The step of `rows[0]`.
  """
  for step, row in enumerate(rows, first_step):
    broken = sorted(name for name, value in row.items() if not np.isfinite(value))
    if broken:
      terms = ", ".join(f"{name} = {row[name]}" for name in broken)
      raise FloatingPointError(
        f"step {step}: {terms}. The run stopped and saved nothing since; try a lower "
        "config.schedule.learning_rate or a longer config.schedule.warmup_steps."
      )


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
  ):
    """Takes the learning-rate schedule, the writer, the range of steps to come, and images per step."""
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
      FloatingPointError: A loss or the gradient is not finite.
    """
    if not self._pending:
      return
    rows, self._pending = jax.device_get(self._pending), []
    check_finite(rows, self._done)
    self._done += len(rows)
    seconds = max(time.perf_counter() - self._since, 1e-9)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
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
