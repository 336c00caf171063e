"""Operations are counted as often as they run."""

import jax
import jax.numpy as jnp
import pytest

from jax_uda.run.plan import operations

pytestmark = pytest.mark.fast

SQUARE = jnp.ones((4, 4))
PRODUCT = 2 * 4**3


def count(function, *arguments):
  return operations.count(jax.make_jaxpr(function)(*arguments))


def test_a_product_costs_two_operations_per_term():
  assert count(lambda x: x @ x, SQUARE) == PRODUCT
  batched = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6))
  assert count(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), *batched) == 2 * 3 * 4 * 5 * 6


def test_a_convolution_costs_two_operations_per_weight_and_pixel_of_its_group():
  image, kernel = jnp.ones((2, 8, 8, 6)), jnp.ones((3, 3, 6, 10))
  conv = lambda x, k, groups: jax.lax.conv_general_dilated(
    x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
  )
  assert count(lambda x, k: conv(x, k, 1), image, kernel) == 2 * (2 * 8 * 8 * 10) * 9 * 6
  depthwise = jnp.ones((3, 3, 1, 6))
  assert count(lambda x, k: conv(x, k, 6), image, depthwise) == 2 * (2 * 8 * 8 * 6) * 9


def test_the_body_of_a_scan_counts_as_often_as_it_runs():
  run = lambda x: jax.lax.scan(lambda carry, _: (carry @ carry, None), x, length=7)[0]
  assert count(jax.jit(run), SQUARE) == 7 * PRODUCT
  assert count(jax.grad(lambda x: run(x).sum()), SQUARE) == 3 * 7 * PRODUCT


def test_what_is_computed_again_is_counted_again():
  layer = lambda x: jnp.sin(x @ x) @ x
  plain = count(jax.grad(lambda x: layer(x).sum()), SQUARE)
  again = count(jax.grad(lambda x: jax.checkpoint(layer)(x).sum()), SQUARE)
  assert again > plain


def test_a_condition_counts_its_dearer_branch():
  choose = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
  assert count(choose, SQUARE) == 2 * PRODUCT
