"""Every method: eight devices equal one, and a run that was killed continues as if it had not been."""

import functools

import jax
import numpy as np
import pytest
from tiny import METHODS, SIZE, batch_of

from jax_uda.run import checkpoint
from jax_uda.step.state import TrainState

# What a plain run of the tests looks at; the rest is marked `long`.
QUICK = ("sepico_bank", "rccr", "spcl_warm_up")
# Tolerances of one device against eight; auxiliary networks have Adams (`tiny.CUT`).
TOLERANCES = {"student": 1e-5, "teacher": 1e-5, "objective_state": 1e-5, "auxiliary": 2e-4}


def run(tiny, now, end: int):
  """The state at step `end`."""
  for index in range(int(now.step), end):
    now, metrics = tiny.step(now, batch_of(index))
    jax.block_until_ready(metrics)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
  return now


def host(now: TrainState) -> TrainState:
  return jax.tree.map(np.asarray, now.replace(key=jax.random.key_data(now.key)))


def assert_close(found, expected, *, atol: float, field: str):
  """A sum's rounding error goes by its largest terms: `atol` is of the array's largest value, or 1."""
  scale = np.max(np.abs(expected), initial=1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol * scale, err_msg=field)


@pytest.mark.parametrize(
  "name",
  [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in METHODS],
)
def test_a_run_continues_where_it_was_killed_also_on_fewer_devices(name, tmp_path, tiny_learner):
  eight, one = tiny_learner(name), tiny_learner(name, 1)
  start = lambda tiny: tiny.init(seed=0, image_size=SIZE)
  middle = run(eight, start(eight), 2)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(middle)
  whole = host(run(eight, middle, 4))
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    continued = host(run(eight, checkpoints.restore(start(eight)), 4))
    elsewhere = host(run(one, checkpoints.restore(start(one)), 4))
  jax.tree.map(np.testing.assert_array_equal, whole, continued)
  for field, atol in TOLERANCES.items():
    close = functools.partial(assert_close, atol=atol, field=field)
    jax.tree.map(close, getattr(elsewhere, field), getattr(whole, field))
