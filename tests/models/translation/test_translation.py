"""CUT's networks agree with the reference."""

import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import translation, weights
from jax_uda.models.translation import layers
from jax_uda.ops import resize


def loaded(case, letter, shapes):
  """Our variables of `shapes` with the file's weights; the constant filters are left out."""
  tensors = case.group(f"{letter}/")
  return weights.from_torch({k: v for k, v in tensors.items() if not k.endswith(".filt")}, shapes)


def networks(case):
  generator = translation.Generator(
    width=int(case.ngf), blocks=int(case.n_blocks), nce_layers=tuple(case.nce_layers.tolist())
  )
  discriminator = translation.PatchDiscriminator(width=int(case.ndf))
  return generator, discriminator, translation.PatchMLP(dim=int(case.netF_nc))


def count(shapes):
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("case", golden("confeti/cut_nets"))
def test_networks_match_reference(case):
  generator, discriminator, mlp = networks(case)
  image, key = jnp.asarray(case.img), jax.random.key(0)
  positions = golden_models.numbered(case, "patch_ids")
  g = loaded(case, "G", jax.eval_shape(generator.init, key, image))
  d = loaded(case, "D", jax.eval_shape(discriminator.init, key, image))
  encode = lambda g, image: generator.apply(g, image, method="encode")
  features = jax.eval_shape(encode, g, image)
  f = loaded(case, "F", jax.eval_shape(mlp.init, key, features, positions))

  @jax.jit
  def run(image):
    fake, pullback = jax.vjp(lambda image: generator.apply(g, image), image)
    features = encode(g, image)
    pooled = mlp.apply(f, features, positions)
    gradient = pullback(jnp.asarray(case.cotangent, jnp.float32))[0]
    return fake, gradient, discriminator.apply(d, fake), features, pooled

  fake, gradient, scores, features, pooled = run(image)
  assert_close(fake, case.fake, 1e-4, 2e-5)
  assert_close(gradient, case.grad_img, 1e-3, 2e-3)
  assert_close(scores, case.pred_D_fake, 1e-3, 1e-4)
  for i, (maps, vectors) in enumerate(zip(features, pooled, strict=True)):
    assert_close(maps[: len(case[f"nce_feat{i}"])], case[f"nce_feat{i}"], 1e-4, 2e-5)
    assert_close(vectors.reshape(-1, mlp.dim), case[f"pooled{i}"], 1e-4, 2e-5)


def test_published_sizes_and_numbers_of_parameters():
  image = jax.ShapeDtypeStruct((2, 512, 512, 3), jnp.float32)
  key, generator = jax.random.key(0), translation.Generator()
  g = jax.eval_shape(generator.init, key, image)
  assert count(g) == 11_378_179
  features = jax.eval_shape(lambda g, x: generator.apply(g, x, method="encode"), g, image)
  assert [x.shape[1:] for x in features] == [
    (518, 518, 3), (512, 512, 128), (256, 256, 256), (128, 128, 256), (128, 128, 256)
  ]  # fmt: skip
  discriminator = translation.PatchDiscriminator()
  scores, d = jax.eval_shape(discriminator.init_with_output, key, image)
  assert scores.shape == (2, 62, 62, 1) and count(d) == 2_764_737
  positions = [jnp.zeros(256, int)] * 5
  assert count(jax.eval_shape(translation.PatchMLP().init, key, features, positions)) == 560_384


def test_names_are_those_of_the_reference():
  image = jnp.zeros((1, 512, 512, 3))
  generator = jax.eval_shape(translation.Generator().init, jax.random.key(0), image)
  names = {
    weights.torch_name(("params", *path))
    for path in (("model_1", "kernel"), ("model_20", "conv_block_5", "bias"), ("model_30", "bias"))
  }
  assert names == {"model.1.weight", "model.20.conv_block.5.bias", "model.30.bias"}
  assert {"model_1", "model_4", "model_8", "model_22", "model_26", "model_30"} | {
    f"model_{i}" for i in range(12, 21)
  } == set(generator["params"])
  assert weights.torch_name(("params", "mlp_4_2", "kernel")) == "mlp_4.2.weight"


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_upsample_is_bilinear_and_downsample_rounds_up(size):
  x = jax.random.normal(jax.random.key(0), (2, *size, 3))
  doubled = (2 * size[0], 2 * size[1])
  np.testing.assert_allclose(layers.upsample(x), resize.bilinear(x, doubled), atol=1e-6)
  small = layers.downsample(x)
  assert small.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 3)
  # The filter in the middle of the map, and mirrored in the corner.
  tap = np.outer([1, 2, 1], [1, 2, 1])[..., None] / 16
  np.testing.assert_allclose(small[:, 1, 1], np.sum(x[:, 1:4, 1:4] * tap, (1, 2)), atol=1e-6)
  corner = x[:, [1, 0, 1]][:, :, [1, 0, 1]]
  np.testing.assert_allclose(small[:, 0, 0], np.sum(corner * tap, (1, 2)), atol=1e-6)


def test_positions_are_distinct_and_all_of_a_small_map():
  features = [jnp.zeros((2, 30, 20, 3)), jnp.zeros((2, 3, 4, 5))]
  large, small = translation.draw_positions(jax.random.key(0), features)
  assert large.shape == (256,) and len(set(large.tolist())) == 256
  assert large.min() >= 0 and 550 < large.max() < 600
  assert sorted(small.tolist()) == list(range(12))


def test_embeddings_of_zero_features_have_finite_gradients():
  mlp, positions = translation.PatchMLP(dim=4), [jnp.arange(6)]
  zeros = jnp.zeros((1, 2, 3, 5))
  variables = mlp.init(jax.random.key(0), [zeros], positions)
  loss = lambda v, x: jnp.sum(mlp.apply(v, [x], positions)[0])
  for leaf in jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(variables, zeros)):
    assert jnp.isfinite(leaf).all()


def test_initial_weights_are_xavier_normal_with_gain_0_02():
  x = jnp.zeros((1, 4, 4, 64))
  kernel = layers.conv(32, 3, dtype=jnp.float32).init(jax.random.key(0), x)["params"]["kernel"]
  assert kernel.std() == pytest.approx(0.02 * np.sqrt(2 / (9 * 96)), rel=0.05)


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="30x32.*multiples of 4"):
    translation.Generator().init(jax.random.key(0), jnp.zeros((1, 30, 32, 3)))
  with pytest.raises(ValueError, match="24 and up"):
    translation.PatchDiscriminator().init(jax.random.key(0), jnp.zeros((1, 16, 64, 3)))
