"""The assembly of encoder, decoder and heads, and the small network."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import models

MODE = {"train": False, "use_running_average": True}
SMALL = {"encoder_options": {"widths": (8, 8, 16), "depths": (1, 2)}}


class Projection(nn.Module):
  """A head for the tests: the coarsest map's mean beside the fused map."""

  @nn.compact
  def __call__(self, features, fused, *, train, use_running_average):
    scene = nn.Dense(4)(features[-1].mean((1, 2), keepdims=True))
    return nn.Dense(4)(fused) + scene


@functools.cache
def small():
  """A small network, its variables and its outputs on random images of 16x24."""
  model = models.build(
    encoder="compact", decoder="light", num_classes=5, heads={"projection": Projection()}, **SMALL
  )
  image = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
  outputs, variables = jax.jit(functools.partial(model.init_with_output, **MODE))(
    jax.random.key(0), image
  )
  return model, variables, image, outputs


def test_outputs_have_the_documented_shapes():
  _, variables, _, outputs = small()
  assert outputs.logits.shape == (2, 8, 12, 5)
  assert outputs.fused.shape == (2, 8, 12, 48)
  assert [f.shape for f in outputs.features] == [(2, 8, 12, 8), (2, 4, 6, 8), (2, 2, 3, 16)]
  assert {k: v.shape for k, v in outputs.heads.items()} == {"projection": (2, 8, 12, 4)}
  assert set(variables["params"]) == {"encoder", "decoder", "heads_projection"}


def test_encode_returns_the_features_alone():
  model, variables, image, outputs = small()
  features = jax.jit(functools.partial(model.apply, method="encode", **MODE))(variables, image)
  for a, b in zip(features, outputs.features, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_fused_map_comes_without_logits_if_it_is_enough():
  model, variables, image, outputs = small()
  run = functools.partial(model.apply, variables, image, **MODE)
  fused = jax.eval_shape(functools.partial(run, outputs=("fused",)))
  assert fused.logits is None and fused.heads == {} and fused.fused.shape == outputs.fused.shape
  bare = jax.eval_shape(functools.partial(run, outputs=()))
  assert bare.logits is None and bare.fused is None
  decoded = jax.eval_shape(functools.partial(run, outputs=("decoder",)))
  assert decoded.logits.shape == outputs.logits.shape and decoded.heads == {}


def test_heads_of_a_method_get_the_networks_dtype():
  build = functools.partial(models.build, encoder="compact", decoder="light", num_classes=2)
  assert build(dtype=jnp.bfloat16).dtype == build(dtype=jnp.bfloat16, hrda={}).dtype == jnp.bfloat16


def test_images_of_a_batch_do_not_influence_each_other():
  model, variables, image, outputs = small()
  single = jax.jit(functools.partial(model.apply, **MODE))(variables, image[1:])
  np.testing.assert_allclose(single.logits, outputs.logits[1:], atol=1e-5)


def test_every_parameter_but_those_behind_a_zero_start_gets_a_gradient():
  model, variables, image, _ = small()

  def loss(params):
    outputs = model.apply({"params": params}, image, **MODE)
    return jnp.sum(outputs.logits**2) + jnp.sum(outputs.heads["projection"] ** 2)

  # One small step away from the start, so that zero scales hide no branch.
  gradient = jax.jit(jax.grad(loss))(jax.tree.map(lambda p: p + 0.01, variables["params"]))
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert jnp.isfinite(leaf).all() and leaf.any(), jax.tree_util.keystr(path)


def test_the_network_standardises_as_its_encoder_expects():
  model, variables, image, outputs = small()
  assert model.image_mean == (0.485, 0.456, 0.406)
  assert model.image_std == (0.229, 0.224, 0.225)
  standard = (image - jnp.array(model.image_mean)) / jnp.array(model.image_std)
  plain = model.clone(image_mean=(0.0,) * 3, image_std=(1.0,) * 3)
  run = jax.jit(functools.partial(plain.apply, **MODE))
  np.testing.assert_allclose(run(variables, standard).logits, outputs.logits, atol=1e-5)


def test_bytes_are_refused():
  model, variables, _, _ = small()
  with pytest.raises(ValueError, match="image has dtype uint8; expected floats"):
    model.apply(variables, jnp.zeros((1, 8, 8, 3), jnp.uint8), **MODE)


def test_half_precision_keeps_parameters_and_logits_in_float32():
  model = models.build(
    encoder="compact", decoder="light", num_classes=5, dtype=jnp.bfloat16, **SMALL
  )
  outputs, variables = jax.eval_shape(
    functools.partial(model.init_with_output, **MODE), jax.random.key(0), jnp.zeros((1, 8, 8, 3))
  )
  assert outputs.logits.dtype == jnp.float32 and outputs.fused.dtype == jnp.bfloat16
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_sides_that_are_no_multiple_of_eight_are_refused():
  model, variables, _, _ = small()
  with pytest.raises(ValueError, match="100x128.*multiples of 8"):
    model.apply(variables, jnp.zeros((1, 100, 128, 3)), **MODE)


def test_the_compact_network_has_about_a_million_parameters():
  model = models.build(encoder="compact", decoder="light", num_classes=11)
  variables = jax.eval_shape(
    functools.partial(model.init, **MODE), jax.random.key(0), jnp.zeros((1, 8, 8, 3))
  )
  assert 0.8e6 < sum(leaf.size for leaf in jax.tree.leaves(variables)) < 1.1e6


def test_equal_recipes_give_equal_networks_so_that_jit_can_key_on_them():
  make = lambda: models.build(
    encoder="compact", decoder="light", num_classes=5, heads={"projection": Projection()}
  )
  assert make() == make() and hash(make()) == hash(make())


def test_an_unknown_name_is_answered_with_the_nearest_one():
  with pytest.raises(ValueError, match="encoder = 'compakt' is unknown. Did you mean 'compact'"):
    models.build(encoder="compakt", decoder="light", num_classes=5)
