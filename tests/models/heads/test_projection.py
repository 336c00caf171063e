"""The projection heads agree with the references."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models.heads import projection

EVAL = {"train": False, "use_running_average": True}
TRAIN = {"train": True, "use_running_average": False}
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
close_gradient = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", golden("sepico/proj_head"))
def test_sepicos_head_matches_reference(case):
  head = projection.ProjectionHead(
    dim=case.conv1_kernel.shape[-1],
    hidden=case.conv0_kernel.shape[-1],
    levels={"single": "last", "concat": "all"}[str(case["mode"])],
  )
  block = lambda i, names: {name: jnp.asarray(case[f"bn{i}_{name}"]) for name in names}
  variables = {
    "params": {
      f"convs_{i}": {
        "conv": {"kernel": jnp.asarray(case[f"conv{i}_kernel"])},
        "bn": block(i, ("scale", "bias")),
      }
      for i in range(2)
    },
    "batch_stats": {f"convs_{i}": {"bn": block(i, ("mean", "var"))} for i in range(2)},
  }
  features = tuple(jnp.asarray(case[f"in{i}"]) for i in range(int(case.num_inputs)))

  @jax.jit
  def run(params, features):
    def forward(params, features):
      return head.apply(
        {**variables, "params": params}, features, None, mutable=["batch_stats"], **TRAIN
      )

    trained, pullback, state = jax.vjp(forward, params, features, has_aux=True)
    evaluated = head.apply(variables, features, None, **EVAL)
    return evaluated, trained, pullback(jnp.asarray(case.cotangent)), state["batch_stats"]

  evaluated, trained, (grad_params, grad_features), statistics = run(variables["params"], features)
  close(evaluated, case.out_eval)
  close(trained, case.out_train)
  for i, gradient in enumerate(grad_features):
    close_gradient(gradient, case[f"grad_in{i}"])
  for i in range(2):
    gradient = grad_params[f"convs_{i}"]
    close_gradient(gradient["conv"]["kernel"], case[f"grad_conv{i}_kernel"])
    close_gradient(gradient["bn"]["scale"], case[f"grad_bn{i}_scale"])
    close_gradient(gradient["bn"]["bias"], case[f"grad_bn{i}_bias"])
    close(statistics[f"convs_{i}"]["bn"]["mean"], case[f"new_bn{i}_mean"])
    close(statistics[f"convs_{i}"]["bn"]["var"], case[f"new_bn{i}_var"])


@pytest.mark.parametrize("levels, hidden, joined", [("all", 9, 36), ("last", 16, 16)])
def test_sepicos_hidden_width_follows_the_input(levels, hidden, joined):
  features = tuple(jnp.zeros((1, 4 // 2**i, 4, 8 + 4 * i)) for i in range(3))
  head = projection.ProjectionHead(dim=3, levels=levels)
  shapes = jax.eval_shape(functools.partial(head.init, **EVAL), jax.random.key(0), features, None)
  assert shapes["params"]["convs_0"]["conv"]["kernel"].shape == (1, 1, joined, hidden)


def rccr_head(case):
  head = projection.RegionProjectionHead(dim=len(case.b2), hidden=len(case.b1))
  params = {
    "project_0": {"kernel": case.w1, "bias": case.b1},
    "project_2": {"kernel": case.w2, "bias": case.b2},
  }
  return head, jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("case", golden("rccr/projection_head"))
def test_rccrs_head_matches_reference(case):
  head, params = rccr_head(case)

  @jax.jit
  def run(params, x):
    forward = lambda params, x: head.apply({"params": params}, (x,), None, **EVAL)
    y, pullback = jax.vjp(forward, params, x)
    return y, pullback(jnp.asarray(case.cotangent))

  y, (gradients, grad_x) = run(params, jnp.asarray(case.x))
  np.testing.assert_allclose(y, case.y, rtol=1e-5, atol=1e-6)
  assert_close(grad_x, case.grad_x, 1e-3, 1e-6)
  for i, name in ((1, "project_0"), (2, "project_2")):
    assert_close(gradients[name]["kernel"], case[f"grad_w{i}"], 1e-3, 1e-6)
    assert_close(gradients[name]["bias"], case[f"grad_b{i}"], 1e-3, 1e-6)


def test_rccrs_biases_can_start_as_published():
  head = projection.RegionProjectionHead(dim=64, hidden=256, uniform_bias=True)
  params = head.init(jax.random.key(0), (jnp.zeros((1, 2, 2, 16)),), None, **EVAL)["params"]
  for name, bound in (("project_0", 1 / 4), ("project_2", 1 / 16)):  # 1 / sqrt(channels in)
    bias = params[name]["bias"]
    assert -bound < bias.min() < -0.9 * bound and 0.9 * bound < bias.max() < bound
    assert abs(params[name]["kernel"].std() - 0.01) < 0.001


def test_rccrs_biases_start_at_zero_by_default():
  head = projection.RegionProjectionHead(dim=4)
  params = head.init(jax.random.key(0), (jnp.zeros((1, 2, 2, 3)),), None, **EVAL)["params"]
  assert not params["project_0"]["bias"].any() and not params["project_2"]["bias"].any()


def test_rccrs_head_can_average_cells_of_the_fused_map_first():
  fused = jax.random.normal(jax.random.key(0), (2, 4, 7, 6))
  head = projection.RegionProjectionHead(dim=5, source="fused", pool=2)
  y, variables = head.init_with_output(jax.random.key(1), (), fused, **EVAL)
  assert y.shape == (2, 2, 3, 5)
  pooled = fused[:, :, :6].reshape(2, 2, 2, 3, 2, 6).mean((2, 4))
  plain = projection.RegionProjectionHead(dim=5)
  np.testing.assert_allclose(plain.apply(variables, (pooled,), None, **EVAL), y, atol=1e-5)


def test_a_head_on_the_fused_map_asks_for_the_decoder():
  head = projection.RegionProjectionHead(source="fused")
  with pytest.raises(ValueError, match="'decoder'"):
    head.init(jax.random.key(0), (jnp.zeros((1, 2, 2, 3)),), None, **EVAL)
