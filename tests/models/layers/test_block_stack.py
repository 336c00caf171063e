"""Looping over blocks and computing them twice change neither parameters nor results."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.models.encoders import dinov2, mit

MODE = {"use_running_average": True}
ENCODERS = {
  # Two of the four stages, which are built by the same lines.
  "mit": functools.partial(mit.MixTransformer, (4, 8), (1, 2), (3, 1), (2, 1), mlp_ratio=2),
  "dinov2": functools.partial(dinov2.DINOv2, 8, 2, 2, position_grid=2),
}
OPTIONS = [
  {"scan_blocks": scan, "remat": remat} for scan in (False, True) for remat in (False, True)
]
KEY = jax.random.key(0)
IMAGE = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


@functools.cache
def initial(name):
  """Random variables."""
  init = functools.partial(ENCODERS[name]().init, train=False, **MODE)
  rng, shapes = np.random.default_rng(1), jax.eval_shape(init, KEY, IMAGE)
  draw = lambda s: (rng.normal(size=s.shape) * 0.4).astype(np.float32)
  return jax.tree.map(draw, shapes)


@functools.cache
def results(name, scan_blocks, remat, train):
  model = ENCODERS[name](
    scan_blocks=scan_blocks, remat=remat, **({"drop_path": 0.0} if name == "mit" else {})
  )

  def loss(variables, image):
    maps = model.apply(variables, image, train=train, **MODE)
    return sum(jnp.sum(jnp.sin(m)) for m in maps), maps

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  return run(initial(name), IMAGE)


@pytest.mark.parametrize("options", OPTIONS[1:])
@pytest.mark.parametrize("name", ENCODERS)
def test_outputs_and_gradients_are_equal(name, options):
  expected = results(name, False, False, True)
  actual = results(name, **options, train=True)
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("options", OPTIONS[1:])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_tree_of_parameters_is_the_same(name, options):
  model = ENCODERS[name](**options)
  shapes = jax.eval_shape(functools.partial(model.init, train=False, **MODE), KEY, IMAGE)
  assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, initial(name))


def test_a_scan_holds_the_operations_of_one_block():
  def products(scan_blocks):
    model = dinov2.DINOv2(8, 12, 2, position_grid=2, scan_blocks=scan_blocks)
    variables = jax.eval_shape(functools.partial(model.init, **MODE, train=False), KEY, IMAGE)
    run = jax.jit(functools.partial(model.apply, **MODE, train=False))
    return run.lower(variables, IMAGE).as_text().count("dot_general")

  assert 6 * products(True) < products(False)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]])
def test_drop_path_differs_by_block_and_by_draw(options):
  model = ENCODERS["mit"](drop_path=0.9, **options)
  apply = functools.partial(model.apply, **MODE)

  @jax.jit
  def run(variables, key):
    image = jnp.concatenate([IMAGE[:1]] * 8)
    trained = apply(variables, image, train=True, rngs={"dropout": key})
    return trained, apply(variables, image, train=False)

  variables = initial("mit")
  (trained, evaluated), (again, _) = (run(variables, jax.random.key(i)) for i in (0, 1))
  assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(trained, again, strict=True))
  spread = [float(jnp.std(m, axis=0).max()) for m in trained]
  assert spread[0] > 1e-3 and spread[-1] > 1e-3  # equal images, other paths
  assert max(float(jnp.std(m, axis=0).max()) for m in evaluated) < 1e-5
