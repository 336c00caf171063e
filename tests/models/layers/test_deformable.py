"""Deformable attention agrees with the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import weights
from jax_uda.models.layers import deformable
from jax_uda.models.layers.deformable import DeformableAttention


def filled(shapes, tensors):
  """Variables with a file's weights."""
  return jax.tree.map(jnp.asarray, weights.from_torch(tensors, shapes))


def check_module(part):
  sizes = [tuple(size) for size in part.levels_hw.tolist()]
  references = deformable.grid_references(tuple(part.query_grid_hw.tolist()))
  assert_close(references, part.reference_points_xy, 1e-6)
  module = DeformableAttention(int(part.num_heads), int(part.num_points), float(part.value_ratio))
  query, features = jnp.asarray(part.query), jnp.asarray(part.value_input)
  forward = lambda variables, query, features: module.apply(
    variables, query, features, sizes, references
  )
  init = lambda: module.init(jax.random.key(0), query, features, sizes, references)
  variables = filled(jax.eval_shape(init), part.group("w/"))

  @jax.jit
  def run(variables, query, features):
    out, pullback = jax.vjp(forward, variables, query, features)
    return out, pullback(jnp.asarray(part.cot))

  out, (gradients, by_query, by_features) = run(variables, query, features)
  assert_close(out, part.out, 2e-5)
  assert_close(by_query, part.grad_query, 2e-5)
  assert_close(by_features, part.grad_value_input, 2e-5)
  gradients = weights.to_torch(gradients)
  for name, expected in part.group("grad_w/").items():
    assert_close(gradients.pop(name), expected, 2e-5)
  assert not gradients


@pytest.mark.parametrize("case", golden("vfm_plus/deform_attn"))
def test_deformable_attention_matches_the_reference(case):
  for part in case.parts():
    check_module(part)
  sizes = [tuple(size) for size in case.core_levels_hw.tolist()]
  core = lambda *arrays: deformable.deformable_attention(arrays[0], sizes, *arrays[1:])
  arrays = [jnp.asarray(case[f"core_{n}"]) for n in ("value", "locations_xy", "attention")]
  out, pullback = jax.vjp(jax.jit(core), *arrays)
  assert_close(out, case.core_out, 2e-5)
  for name, gradient in zip(
    ("value", "locations", "attention"), pullback(jnp.asarray(case.core_cot)), strict=True
  ):
    assert_close(gradient, case[f"core_grad_{name}"], 2e-5)
  for part in case.parts("init"):
    heads, levels, points = part.heads_levels_points.tolist()
    assert_close(deformable.initial_offsets(heads, levels, points), part.offset_bias, 1e-6)


@pytest.mark.fast
def test_locations_stay_exact_in_half_precision():
  sizes, grid = [(3, 70), (2, 35)], (1, 4)
  tokens = sum(h * w for h, w in sizes)
  module = functools.partial(DeformableAttention, 2, 2)
  x = jax.random.normal(jax.random.key(0), (1, 4, 16))
  features = jax.random.normal(jax.random.key(1), (1, tokens, 16))
  arguments = (x, features, sizes, deformable.grid_references(grid))
  variables = module().init(jax.random.key(2), *arguments)
  exact = module().apply(variables, *arguments)
  rounded = module(dtype=jnp.bfloat16).apply(variables, *arguments)
  assert rounded.dtype == jnp.bfloat16
  # A location in bfloat16 would be half a cell off, and the values far from these.
  assert np.abs(np.float32(rounded) - exact).max() < 0.03 * np.abs(exact).max()


@pytest.mark.fast
def test_maps_that_are_not_those_of_the_tokens_are_refused():
  value, weight = jnp.zeros((1, 5, 1, 2)), jnp.zeros((1, 3, 1, 1, 2))
  with pytest.raises(ValueError, match="do not have 5 tokens"):
    deformable.deformable_attention(value, [(2, 2)], jnp.zeros((1, 3, 1, 1, 2, 2)), weight)
