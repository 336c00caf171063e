"""The CAM head, with its loss, agrees with the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import losses
from jax_uda.models import weights
from jax_uda.models.heads import cam

pytestmark = pytest.mark.fast

MODE = {"train": False, "use_running_average": True}


@pytest.mark.parametrize("case", golden("confeti/cam_head"))
def test_matches_reference(case):
  head = cam.CAMHead(num_classes=len(case.cam_kernel))
  fine = jnp.ones((len(case.feat), 8, 8, 3))  # not to be looked at
  run = lambda variables, feat: head.apply(variables, (fine, feat), None, **MODE)
  shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), (fine, case.feat), None, **MODE))
  tensors = {"conv_cam.weight": case.cam_kernel[:, :, None, None]}
  variables = weights.from_torch(tensors, shapes)

  def loss(variables, feat):
    maps = run(variables, feat)
    return losses.image_class_cross_entropy(maps, jnp.asarray(case.label)), maps

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (value, maps), (grad_variables, grad_feat) = grad(variables, jnp.asarray(case.feat))
  assert_close(jax.nn.relu(maps), case.cam_map, 1e-4, 1e-5)
  assert_close(maps.mean((1, 2)), case.scores, 1e-4, 1e-5)
  assert_close(value, case.loss, 1e-4, 1e-5)
  assert_close(grad_feat, case.grad_feat, 1e-4, 1e-5)
  gradient = weights.to_torch(grad_variables)["conv_cam.weight"][:, :, 0, 0]
  assert_close(gradient, case.grad_kernel, 1e-4, 1e-5)


def test_the_start_is_uniform_as_in_pytorch_and_the_maps_are_float32():
  head = cam.CAMHead(19, dtype=jnp.bfloat16)
  feature = jnp.ones((1, 2, 3, 400), jnp.bfloat16)
  maps, variables = head.init_with_output(jax.random.key(0), (feature,), None, **MODE)
  kernel = variables["params"]["conv_cam"]["kernel"]
  assert maps.dtype == kernel.dtype == jnp.float32 and maps.shape == (1, 2, 3, 19)
  assert 0.049 < np.abs(kernel).max() <= 0.05  # 1 / sqrt(400)
  assert set(variables["params"]["conv_cam"]) == {"kernel"}
