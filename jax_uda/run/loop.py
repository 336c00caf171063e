"""The loop over training steps, with logs, checkpoints and what else is due on the way."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.stages

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.common.log import say
from jax_uda.run import interruption
from jax_uda.run.agreement import Agreement
from jax_uda.run.checkpoint import Checkpoints
from jax_uda.run.interruption import Interruption, Stopped
from jax_uda.run.settings import RunSettings
from jax_uda.run.step_log import StepLog
from jax_uda.step.learner import Learner
from jax_uda.step.state import TrainState


class Periodic(NamedTuple):
  """What is done with the state every so many steps; None: only at the end of the run.

  Attributes:
    every_steps: The number of steps.
    function: Called with the state, which it must not change.
    is_long: Whether it takes so long that the state is saved first.
  """

  every_steps: int | None
  function: Callable[[TrainState], None]
  is_long: bool = False


def is_due(every_steps: int | None, step: int, end: int) -> bool:
  """Whether something is due after `step` steps of a run that ends after `end`."""
  return step == end or bool(every_steps and step % every_steps == 0)


class Loop:
  """The steps of one run."""

  def __init__(
    self,
    learner: Learner,
    settings: RunSettings,
    log: StepLog,
    checkpoints: Checkpoints,
    periodic: tuple[Periodic, ...],
  ):
    """Takes what learns, when things are due, and where they go."""
    self._learner, self._settings, self._log = learner, settings, log
    self._checkpoints, self._periodic = checkpoints, periodic
    self._phase: int | None = None
    self._compiled: jax.stages.Compiled | None = None
    self._last_save = time.monotonic()

  def run(self, state: TrainState, batches: Iterator[Any]) -> TrainState:
    """Trains to the last step.

    Args:
      state: The state to begin with; its buffers are reused.
      batches: Batches from the step of `state` on.

    Returns:
      The last state, which is saved or being saved.

    Raises:
      FloatingPointError: A loss is not finite.
      Stopped: The run was told to stop; the state is saved.
    """
    state = self._learner.placed(state)
    first, end, stop = int(state.step), self._settings.end_step, interruption.current()
    agreement = Agreement(self._learner.mesh)
    with stop.finishing():
      try:
        for step in range(first, end):
          with self._log.waiting_for_data(), registry.within("config", "data"):
            batch = mesh_lib.put_batch(self._learner.mesh, next(batches))
          train_step = self._step_of(step, state, batch, stop)
          # Whatever would be copied between host and devices here, each step would wait for.
          with jax.transfer_guard("disallow"):
            state, metrics = train_step(state, batch)
          if mesh_lib.must_wait(self._learner.mesh):
            jax.block_until_ready(metrics)
          self._log.add(metrics)
          stops, saves = agreement.ask(stop.requested, self._is_time_to_save())
          if stops:
            raise Stopped
          self._after_step(step + 1, state, saves, stop)
      except Stopped:
        raise self._stopped(state, first) from None
    return state

  def _step_of(
    self, step: int, state: TrainState, batch: Any, stop: Interruption
  ) -> jax.stages.Compiled:
    """The compiled step; compiling may be left, with the state as it is."""
    phase = self._learner.method.phase(step)
    if self._compiled is None or phase != self._phase:
      self._log.flush()  # the metrics of another phase may have other names
      if self._compiled is not None:
        self._save(state)  # compiling may have to be left
      with stop.leaving():
        self._compiled = _compile(self._learner, phase, state, batch)
      self._phase = phase
      self._log.start()
    return self._compiled

  def _is_time_to_save(self) -> bool:
    minutes = self._settings.checkpoint.every_minutes
    return bool(minutes) and time.monotonic() - self._last_save > 60 * minutes

  def _after_step(self, done: int, state: TrainState, saves: bool, stop: Interruption) -> None:
    """Does what is due after `done` steps; a signal may cut it short."""
    end = self._settings.end_step
    due = [item for item in self._periodic if done < end and is_due(item.every_steps, done, end)]
    saves |= is_due(self._settings.checkpoint.every_steps, done, end)
    saves |= any(item.is_long for item in due)
    if saves or due or is_due(self._settings.log_every_steps, done, end):
      self._log.flush()  # a state with a non-finite loss behind it is neither saved nor evaluated
    with self._log.paused():
      if saves:
        self._save(state)
      for item in due:
        with stop.leaving():
          item.function(state)

  def _save(self, state: TrainState) -> None:
    began = time.perf_counter()
    self._checkpoints.save(state)
    self._log.saved(time.perf_counter() - began)
    self._last_save = time.monotonic()

  def _stopped(self, state: TrainState, first: int) -> Stopped:
    """Saves the state of a run that was told to stop, if anything was trained since step `first`."""
    step = int(state.step)
    if step == first:
      return Stopped("stopped before a step was trained; the same command continues")
    self._log.flush()
    self._checkpoints.save(state)
    self._checkpoints.wait()
    return Stopped(
      f"stopped after step {step}, which is saved in {self._checkpoints.folder}; the same command "
      "continues"
    )


def _compile(learner: Learner, phase: int, state: TrainState, batch: Any) -> jax.stages.Compiled:
  """Compiles the step of a phase ahead of time and says what it needs."""
  began = time.perf_counter()
  lowered = learner.step_of(phase).lower(state, batch)
  step = interruption.in_thread(lowered.compile)
  seconds = time.perf_counter() - began
  memory = step.memory_analysis()
  mib = lambda size: f"{size / 2**20:.0f} MiB"
  say(
    f"step compiled in {seconds:.1f} s; each device needs {mib(memory.argument_size_in_bytes)} for "
    f"state and batch and {mib(memory.temp_size_in_bytes)} for temporaries"
  )
  return step
