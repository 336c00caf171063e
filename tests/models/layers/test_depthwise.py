"""The depthwise convolution equals XLA's grouped one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.models.layers import depthwise


@pytest.mark.parametrize("k, dilation, stride", [(3, 1, 1), (3, 3, 1), (3, 1, 2), (5, 1, 2)])
def test_shifted_products_equal_the_grouped_convolution(k, dilation, stride):
  x = jax.random.normal(jax.random.key(0), (2, 8, 7, 6))  # an even and an odd side
  module = functools.partial(depthwise.DepthwiseConv, k, dilation, stride)
  variables = module().init(jax.random.key(1), x)

  def loss(variables, x, method):
    return jnp.sum(jnp.sin(module(method=method).apply(variables, x)))

  run = functools.partial(jax.value_and_grad(loss, argnums=(0, 1)), variables, x)
  for a, b in zip(jax.tree.leaves(run("shift")), jax.tree.leaves(run("conv")), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_an_unknown_depthwise_method_is_refused():
  with pytest.raises(ValueError, match="choose from"):
    depthwise.DepthwiseConv(method="fast").init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
