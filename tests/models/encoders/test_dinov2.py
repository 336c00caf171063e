"""DINOv2 and its light head agree with the reference."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import models
from jax_uda.models import weights
from jax_uda.models.decoders import vit
from jax_uda.models.encoders import dinov2
from jax_uda.models.layers.up_conv import UpConv
from jax_uda.ops import resize

MODE = {"train": False, "use_running_average": True}


def model_of(case):
  return models.Segmentor(
    encoder=dinov2.DINOv2(
      embed_dim=int(case.embed_dim),
      depth=int(case.depth),
      num_heads=int(case.num_heads),
      patch=int(case.patch),
      position_grid=int(case.grid_native),
    ),
    decoder=vit.ViTHead(int(case.num_classes)),
  )


def variables_of(case, model):
  """The file's weights: what is not the encoder's is the head's."""
  part = lambda name: "" if name.startswith("encoder.") else "decode_head."
  tensors = {
    f"{part(name)}{name}".replace("encoder.", "backbone.", 1): tensor
    for name, tensor in case.group("w/").items()
  }
  init = functools.partial(model.init, **MODE)
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.asarray(case.x))
  return weights.from_torch(tensors, shapes)


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("case", golden("base/dino_pos_embed"))
def test_positions_are_resized_as_in_the_reference(case):
  for part in case.parts():
    embedding, grid = jnp.asarray(part.pos_embed), tuple(part.grid_out_hw.tolist())
    assert_close(dinov2.position_embedding(embedding, grid), part.out_offset01, 2e-5)
    native = int(part.grid_native)
    patches = embedding[:, 1:].reshape(1, native, native, -1)
    plain = resize.bicubic(patches, grid).reshape(1, grid[0] * grid[1], -1)
    assert_close(plain, part.out_offset0[:, 1:], 2e-5)


@pytest.mark.parametrize("case", golden("base/dino_tiny"))
def test_matches_reference(case):
  model, x = model_of(case), jnp.asarray(case.x)
  variables = variables_of(case, model)

  @jax.jit
  def run(variables, x):
    def forward(variables, x):
      outputs = model.apply(variables, x, **MODE)
      return resize.bilinear(outputs.logits, x.shape[1:3]), outputs

    logits, pullback, outputs = jax.vjp(forward, variables, x, has_aux=True)
    return logits, outputs, pullback(jnp.asarray(case.cot))

  logits, outputs, (grad_variables, grad_x) = run(variables, x)
  assert_close(outputs.features[0], case.feats, 1e-4)
  assert_close(outputs.logits, case.logits_native, 1e-4)
  assert_close(logits[:, ::2, ::2], case.logits, 1e-4)
  assert_close(grad_x[:, ::4, ::4], case.grad_x, 1e-4)
  gradient = grad_variables["params"]["encoder"]["pos_embed"]
  assert_close(gradient, case.grad_pos_embed, 1e-4)


@pytest.mark.parametrize("case", golden("base/dino_tiny"))
def test_masked_tokens_match_reference(case):
  model, x = model_of(case), jnp.asarray(case.x)
  encoder = {"params": variables_of(case, model)["params"]["encoder"]}
  grid, patch = model.encoder.token_grid(*x.shape[1:3]), model.encoder.patch
  mask = (case.mask_uniform < case.mask_ratio).reshape(len(x), *grid)
  np.testing.assert_array_equal(mask.reshape(len(x), -1), case.mask.astype(bool))
  (feats,) = model.encoder.apply(encoder, x, token_mask=jnp.asarray(mask), **MODE)
  assert_close(feats, case.feats_masked, 1e-4)
  # What lies under the mask has no influence, unlike what lies beside it.
  covered = 9 * jnp.kron(mask, jnp.ones((1, patch, patch)))[..., None]  # on the enlarged image
  run = lambda image: model.encoder.clone(enlarge=1.0, parent=None).apply(
    encoder, image, token_mask=jnp.asarray(mask), **MODE
  )
  image = resize.bilinear(x, (grid[0] * patch, grid[1] * patch))
  np.testing.assert_allclose(run(image + covered)[0], run(image)[0], atol=1e-5)


def test_an_equal_axis_is_resized_too_where_the_other_changes():
  embedding = jax.random.normal(jax.random.key(0), (1, 1 + 25, 2))
  out = dinov2.position_embedding(embedding, (5, 7))[:, 1:].reshape(1, 5, 7, 2)
  patches = embedding[:, 1:].reshape(1, 5, 5, 2)
  one_axis = resize.bicubic(patches, (5, 7))
  assert 1e-3 < jnp.abs(out - one_axis).max() < 0.5  # both axes are scaled by (n + 0.1) / 5
  assert dinov2.position_embedding(embedding, (5, 5)) is embedding


@pytest.mark.parametrize("size, grid", [((1024, 1024), (80, 80)), ((512, 1024), (40, 80))])
def test_the_image_is_enlarged_and_rounded_to_patches(size, grid):
  assert dinov2.DINOv2().token_grid(*size) == grid


@pytest.mark.parametrize(
  "encoder, encoder_parameters, head_parameters",
  [
    ("dinov2_vits14", 22_056_576, None),
    ("dinov2_vitb14", 86_580_480, 1_811_520),
    ("dinov2_vitl14", 304_368_640, 3_218_176),
  ],
)
def test_the_published_numbers_of_parameters(encoder, encoder_parameters, head_parameters):
  model = models.build(encoder=encoder, decoder="vit_head", num_classes=19)
  init = functools.partial(model.init, **MODE)
  params = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))["params"]
  assert count(params["encoder"]) == encoder_parameters
  assert head_parameters in (None, count(params["decoder"]))


def test_half_precision_keeps_parameters_and_logits_in_float32():
  sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2, "position_grid": 3}
  model = models.build(
    encoder="dinov2_vits14",
    decoder="vit_head",
    num_classes=5,
    encoder_options=sizes,
    dtype=jnp.bfloat16,
  )
  init = functools.partial(model.init_with_output, **MODE)
  outputs, variables = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 40, 28, 3)))
  assert outputs.logits.dtype == jnp.float32 and outputs.logits.shape == (2, 12, 8, 5)
  assert outputs.features[0].dtype == outputs.fused.dtype == jnp.bfloat16
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_the_enlargement_equals_a_transposed_convolution():
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 6))
  variables = UpConv(5).init(jax.random.key(1), x)
  reference = nn.ConvTranspose(
    5, (2, 2), (2, 2), padding="VALID", use_bias=False, transpose_kernel=True
  )
  expected = reference.apply(variables, x)
  np.testing.assert_allclose(UpConv(5).apply(variables, x), expected, atol=1e-5)


def test_an_image_smaller_than_a_patch_and_a_mask_of_another_shape_are_refused():
  model = dinov2.DINOv2(embed_dim=4, depth=1, num_heads=1, position_grid=2)
  with pytest.raises(ValueError, match="12x30.*no patch of 14x14"):
    model.init(jax.random.key(0), jnp.zeros((1, 12, 30, 3)), **MODE)
  with pytest.raises(ValueError, match=r"\(1, 4\).*\(1, 2, 2\)"):
    model.init(
      jax.random.key(0), jnp.zeros((1, 28, 28, 3)), token_mask=jnp.ones((1, 4), bool), **MODE
    )
