"""MiT agrees with the reference."""

import functools

import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import weights
from jax_uda.models.encoders import mit

MODE = {"train": False, "use_running_average": True}
TINY = {"embed_dims": (4, 6, 8, 8), "num_heads": (1, 2, 4, 4), "depths": (1, 1, 1, 1)}


def encoder_of(case):
  sizes = {k: tuple(case[k].tolist()) for k in ("embed_dims", "num_heads", "depths", "sr_ratios")}
  return mit.MixTransformer(**sizes, mlp_ratio=int(case.mlp_ratio))


def check_reference(case, rtol):
  model, x = encoder_of(case), jnp.asarray(case.x)
  shapes = jax.eval_shape(functools.partial(model.init, **MODE), jax.random.key(0), x)
  variables = weights.from_torch(case.group("w/"), shapes)

  @jax.jit
  def run(variables, x):
    outputs, pullback = jax.vjp(lambda v, x: model.apply(v, x, **MODE), variables, x)
    return outputs, pullback(golden_models.numbered(case, "cot"))

  outputs, (grad_variables, grad_x) = run(variables, x)
  for i, output in enumerate(outputs, 1):
    assert_close(output, case[f"out{i}"], rtol)
  assert_close(grad_x, case.grad_x, rtol)
  gradients = weights.to_torch(grad_variables)
  for name, expected in case.group("grad_w/").items():
    assert_close(gradients[name], expected, rtol)


@pytest.mark.parametrize("case", golden("base/mit_tiny", but_not=("base/mit_tiny_eps",)))
def test_matches_reference(case):
  check_reference(case, 1e-4)


@pytest.mark.parametrize("case", golden("base/mit_tiny_eps"))
def test_matches_reference_where_the_eps_decides(case):
  check_reference(case, 1e-3)


def test_maps_of_odd_sizes_are_rounded_up():
  model = mit.MixTransformer(**TINY)
  maps, _ = jax.eval_shape(
    functools.partial(model.init_with_output, **MODE), jax.random.key(0), jnp.zeros((1, 540, 72, 3))
  )
  assert [m.shape[1:3] for m in maps] == [(135, 18), (68, 9), (34, 5), (17, 3)]


def test_drop_path_drops_whole_branches_of_single_samples_and_only_in_training():
  block = mit.Block(num_heads=1, sr_ratio=1, mlp_ratio=1)
  x = jnp.ones((64, 2, 2, 4)) * jnp.arange(4.0)
  run = jax.jit(functools.partial(block.apply, drop_path=0.5, train=True))
  variables = block.init(jax.random.key(0), x, train=False)
  # Larger weights than the initial ones, to tell the branches apart.
  variables = jax.tree.map(lambda p: p + 0.5, variables)
  y = run(variables, x, rngs={"dropout": jax.random.key(1)})
  assert 2 < len(np.unique(np.round(np.asarray(y[:, 0, 0, 0]), 3))) <= 4  # each branch on or off
  assert 0.05 < jnp.all(y == x, axis=(1, 2, 3)).mean() < 0.5  # a quarter in expectation
  evaluated = block.apply(variables, x, 0.5, train=False)
  assert len(np.unique(np.round(np.asarray(evaluated[:, 0, 0, 0]), 3))) == 1
