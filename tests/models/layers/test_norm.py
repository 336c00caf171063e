"""Normalisation layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax_uda.models.layers import norm

X = np.random.default_rng(0).normal(2.0, 3.0, size=(2, 3, 4, 8)).astype(np.float32)
PARAMS = {"scale": jnp.linspace(0.5, 2, 8), "bias": jnp.linspace(-1, 1, 8)}
STATS = {"mean": jnp.ones(8), "var": jnp.full(8, 2.0)}


def test_group_norm_equals_the_library_in_value_and_gradient():
  def loss(module, x):
    y = module.apply({"params": PARAMS}, x)
    return jnp.sum(jnp.sin(y)), y

  gradient = jax.grad(loss, argnums=1, has_aux=True)
  ours = gradient(norm.GroupNorm(groups=4), X)
  library = gradient(nn.GroupNorm(num_groups=4, epsilon=1e-5), X)
  for a, b in zip(ours, library, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_group_norm_of_a_constant_image_is_its_bias_with_finite_gradient():
  f = lambda x: norm.GroupNorm(groups=4).apply({"params": PARAMS}, x)
  x = jnp.full((1, 3, 3, 8), 7.0)
  np.testing.assert_allclose(f(x)[0, 0, 0], PARAMS["bias"], atol=1e-3)
  assert jnp.isfinite(jax.grad(lambda x: f(x).sum())(x)).all()


def test_batch_norm_stores_the_unbiased_variance_but_divides_by_the_biased_one():
  variables = {"params": PARAMS, "batch_stats": STATS}
  y, state = norm.BatchNorm().apply(
    variables, X, use_running_average=False, mutable=["batch_stats"]
  )
  flat = X.reshape(-1, 8).astype(np.float64)
  expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5) * PARAMS["scale"] + PARAMS["bias"]
  np.testing.assert_allclose(y.reshape(-1, 8), expected, atol=1e-5)
  new = state["batch_stats"]
  np.testing.assert_allclose(new["mean"], 0.9 * 1 + 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(new["var"], 0.9 * 2 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_uses_batch_statistics_without_keeping_them_where_they_are_immutable():
  variables = {"params": PARAMS, "batch_stats": STATS}
  kept, _ = norm.BatchNorm().apply(variables, X, use_running_average=False, mutable=["batch_stats"])
  np.testing.assert_array_equal(
    norm.BatchNorm().apply(variables, X, use_running_average=False), kept
  )


def test_batch_statistics_over_eight_devices_are_those_of_the_whole_batch():
  x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 2, 2, 8)), jnp.float32)
  variables = {"params": PARAMS, "batch_stats": STATS}
  run = jax.jit(
    lambda x: norm.BatchNorm().apply(
      variables, x, use_running_average=False, mutable=["batch_stats"]
    )
  )
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
  for one, eight in zip(jax.tree.leaves(run(x)), jax.tree.leaves(run(sharded)), strict=True):
    np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-6)


def test_batch_norm_with_running_statistics_is_an_affine_map():
  variables = {"params": PARAMS, "batch_stats": STATS}
  y = norm.BatchNorm().apply(variables, X, use_running_average=True)
  expected = (X - 1) / np.sqrt(2 + 1e-5) * PARAMS["scale"] + PARAMS["bias"]
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_statistics_of_half_precision_inputs_are_float32():
  module = norm.BatchNorm(dtype=jnp.bfloat16)
  x = jnp.asarray(X, jnp.bfloat16)
  y, variables = module.init_with_output(jax.random.key(0), x, use_running_average=False)
  assert y.dtype == jnp.bfloat16
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("use_running_average", [True, False])
def test_untrained_scale_and_bias_are_no_parameters_but_act_the_same(use_running_average):
  mode = {"use_running_average": use_running_average}
  expected = norm.BatchNorm().apply({"params": PARAMS, "batch_stats": STATS}, X, **mode)
  module = norm.BatchNorm(trainable=False)
  assert set(module.init(jax.random.key(0), X, **mode)) == {"batch_stats"}
  variables = {"batch_stats": {**STATS, **PARAMS}}
  y, state = module.apply(variables, X, mutable=["batch_stats"], **mode)
  np.testing.assert_array_equal(y, expected)
  for name, value in PARAMS.items():
    np.testing.assert_array_equal(state["batch_stats"][name], value)
