"""Networks split over devices are the networks that are everywhere; each device holds its share."""

import functools

import jax
import numpy as np
import pytest
import tiny

from jax_uda.common import mesh as mesh_lib
from jax_uda.run.checkpoint import Checkpoints
from jax_uda.step import sharding
from jax_uda.step.learner import Learner

METHOD, STEPS = "dacs_with_everything", 2


def learner_on(mesh) -> Learner:
  """The tiny learner of `tiny.learner` on other devices."""
  return tiny.learner.__wrapped__(METHOD, mesh=mesh)


@pytest.fixture(scope="module")
def split():
  """A learner on 2 x 2 devices and its state after some steps."""
  learner = learner_on(mesh_lib.over(jax.devices()[:4], fsdp=2))
  state = learner.init(seed=0, image_size=tiny.SIZE)
  for i in range(STEPS):
    state, metrics = learner.step(state, tiny.batch_of(i))
    jax.block_until_ready(metrics)
  return learner, state


def test_a_split_network_learns_what_a_whole_one_does(split, tiny_learner):
  whole = tiny_learner(METHOD, 1)
  state = whole.init(seed=0, image_size=tiny.SIZE)
  for i in range(STEPS):
    state, _ = whole.step(state, tiny.batch_of(i))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  leaves = lambda state: jax.device_get((state.student, state.teacher))
  jax.tree.map(close, leaves(state), leaves(split[1]))


def test_each_device_holds_its_share_of_networks_and_moments(split):
  learner, state = split
  count = 0
  for x in jax.tree.leaves((state.student, state.teacher, state.opt_state)):
    held = x.addressable_shards[0].data.size
    if x.size >= sharding.SMALLEST and any(side % 2 == 0 for side in x.shape):
      assert held == x.size // 2
      count += 1
    else:
      assert held == x.size
  assert count > 5
  abstract = learner.abstract_state(tiny.SIZE)
  alike = lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim)
  assert all(jax.tree.leaves(jax.tree.map(alike, abstract, state)))


@pytest.mark.parametrize("devices, fsdp", [(1, 1), (2, 2), (8, 1), (8, 4)])
def test_a_checkpoint_of_split_networks_restores_on_other_devices(split, tmp_path, devices, fsdp):
  state = split[1]
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    checkpoints.save(state)
    checkpoints.wait()
    other = learner_on(mesh_lib.over(jax.devices()[:devices], fsdp))
    restored = checkpoints.restore(other.abstract_state(tiny.SIZE))
  jax.tree.map(np.testing.assert_array_equal, *map(numbers, (state, restored)))


def numbers(state):
  return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def test_devices_that_cannot_be_grouped_are_refused():
  with pytest.raises(ValueError, match="fsdp = 3 does not divide the number of devices, 8"):
    mesh_lib.mesh_of(0, 3)
