"""Weights move between stages whose BatchNorm has constants and such whose BatchNorm is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.models.encoders.resnet import ResNet
from jax_uda.run import checkpoint, start
from jax_uda.step.state import TrainState

SIZES = dict(depths=(1, 1, 1, 1), width=2)


def student(variant: str, shift: float):
  """Variables of a small ResNet, all scales and biases raised by `shift`."""
  model = ResNet(variant, **SIZES)
  init = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), **MODE))
  raised = lambda path, x: x + shift * (path[-1].key in ("scale", "bias"))
  return model, jax.tree.map_with_path(raised, dict(init()))


MODE = dict(train=False, use_running_average=True)


@pytest.mark.parametrize(
  ("there", "here"),
  [("torchvision_frozen", "torchvision"), ("torchvision", "torchvision_frozen")],
)
def test_scales_and_biases_are_found_in_their_other_place(there, here, tmp_path):
  one, saved = student(there, 0.25)
  other, fresh = student(here, 0.0)
  state = TrainState(jnp.int32(1), saved, *[{}] * 5, key=jnp.zeros(2))
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state)
    checkpoints.wait()
    assert checkpoints.restore_shared({"student": fresh})[1]
    restored, missing = checkpoints.restore_shared({"student": fresh}, start._other_collection)
  assert not missing and jax.tree.structure(restored["student"]) == jax.tree.structure(fresh)
  image = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
  maps = [m.apply(v, image, **MODE) for m, v in ((one, saved), (other, restored["student"]))]
  # Only one of them adds an epsilon to the variances.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *maps)
