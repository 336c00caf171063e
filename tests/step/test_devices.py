"""A run on eight devices is the run on one."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jax_uda import models
from jax_uda.common import mesh as mesh_lib
from jax_uda.run import experiment
from jax_uda.step.learner import Learner


def run(learner: Learner, num_steps: int = 4):
  """Student and teacher after some steps, and the metrics of each step."""
  current, history = learner.init(seed=0, image_size=tiny.SIZE), []
  for i in range(num_steps):
    current, metrics = learner.step(current, tiny.batch_of(i))
    history.append(jax.block_until_ready(metrics))
  return jax.device_get((current.student, current.teacher)), jax.device_get(history)


def test_eight_devices_equal_one_after_several_steps(tiny_learner):
  one, eight = (
    run(tiny_learner("dacs_with_everything", 1)),
    run(tiny_learner("dacs_with_everything")),
  )
  assert one[1][0]["loss/mixed"] > 0
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, one, eight)


def test_a_batch_that_the_devices_cannot_share_is_refused():
  with pytest.raises(
    ValueError, match=r"batch_size = 6 cannot be split over 8 .* --config.devices=6"
  ):
    mesh_lib.check_batch_size(6, mesh_lib.data_mesh())


def test_a_run_may_take_some_of_the_devices():
  assert mesh_lib.mesh_of(0).size == 8
  assert list(mesh_lib.mesh_of(3).devices.flat) == jax.devices()[:3]
  for number in (9, -1):
    with pytest.raises(ValueError, match=f"devices = {number}, but there are 8; 0 takes all"):
      mesh_lib.mesh_of(number)


@pytest.mark.parametrize(
  "name, kind, dtype",
  [("auto", "cpu", "float32"), ("auto", "gpu", "bfloat16"), ("auto", "tpu", "bfloat16")]
  + [("float32", "gpu", "float32"), ("bfloat16", "cpu", "bfloat16")],
)
def test_accelerators_compute_in_bfloat16_unless_told_otherwise(name, kind, dtype):
  mesh = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform=kind)]))
  assert experiment.dtype_of(name, mesh) == jnp.dtype(dtype)


def test_the_step_survives_bfloat16_compute(tiny_learner):
  low = models.build(num_classes=tiny.CLASSES, dtype=jnp.bfloat16, **tiny.SMALL)
  method = tiny_learner("dacs_with_everything").method
  learner = Learner(low, method, schedule=lambda step: 1e-2, mesh=mesh_lib.data_mesh(1))
  after, metrics = learner.step(learner.init(seed=0, image_size=tiny.SIZE), tiny.batch_of(0))
  assert np.isfinite(metrics["loss"])
  assert {leaf.dtype for leaf in jax.tree.leaves(after.student)} == {jnp.dtype("float32")}


def test_the_step_of_every_phase_is_compiled_once(tiny_learner):
  learner = tiny_learner("sepico_bank")
  assert [learner.method.phase(step) for step in (0, 1, 7)] == [0, 0, 0]
  assert learner.step_of(0) is learner.step_of(0)


def test_views_of_are_those_of_the_step_in_their_order(tiny_learner):
  learner = tiny_learner("dacs_with_everything", 1)
  state = learner.init(seed=0, image_size=tiny.SIZE)
  scene = learner.views_of(state, tiny.batch_of(0))
  assert list(scene.views) == ["source", "target", "mixed"] and not scene.crops
  assert scene.views["mixed"].image.shape == (8, *tiny.SIZE, 3)
  assert scene.views["mixed"].image.min() >= 0 and scene.views["mixed"].image.max() <= 1
