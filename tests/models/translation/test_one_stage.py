"""The networks of CONFETII's translator agree with the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses
from jax_uda.methods import _gan as gan
from jax_uda.models import translation, weights
from jax_uda.models.encoders import imagenet
from jax_uda.ops import pixels

KEY = jax.random.key(0)


def by_our_names(case: Case, prefix: str) -> dict[str, np.ndarray]:
  return {k.removeprefix("cut_encoder."): v for k, v in case.group(prefix).items()}


@pytest.mark.parametrize("case", golden("confetii/generator"))
def test_the_generator_matches_reference(case: Case):
  generator = translation.SplitGenerator(width=int(case.ngf))
  image = jnp.asarray(case.x)
  shapes = jax.eval_shape(generator.init, KEY, image)
  params = weights.from_torch(by_our_names(case, "w/"), shapes)["params"]

  def run(params, image):
    output, maps = generator.apply({"params": params}, image)
    total = jnp.sum(output * case.cot)
    total += sum(jnp.sum(x * case[f"cot_feat{i}"]) for i, x in enumerate(maps))
    return total, (output, maps)

  grad = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True))
  (by_weight, by_image), (output, maps) = grad(params, image)
  assert_close(output, case.tanh_out, 1e-4, 1e-5)
  restyled = pixels.standardise(gan.from_gan(output), imagenet.MEAN, imagenet.STD)
  assert_close(restyled, case.image_out, 1e-4, 1e-5)
  for i, x in enumerate(maps):
    assert_close(x, case[f"feat{i}"], 1e-4, 1e-5)
  assert_close(by_image, case.grad_x, 1e-3, 1e-5)
  tensors = weights.to_torch({"params": by_weight})
  recorded = by_our_names(case, "grad_w/")
  assert recorded
  for name, expected in recorded.items():
    assert_close(tensors[name], expected, 1e-3, 1e-5)


@pytest.mark.parametrize("case", golden("confetii/patchnce_minibatch"))
def test_the_contrast_of_a_whole_batch_matches_reference(case: Case):
  count = sum(name.isdigit() for name in case.group("ids"))
  of = lambda prefix: tuple(jnp.asarray(case[f"{prefix}{i}"]) for i in range(count))
  rows, keys, queries = of("ids"), of("feat_k"), of("feat_q")
  network = translation.PatchProjection(dim=len(case["w/cut_proj.0.0.bias"]))
  shapes = jax.eval_shape(network.init, KEY, keys, rows)
  params = weights.from_torch(case.group("w/"), shapes)["params"]

  def loss(params, queries, keys):
    embed = lambda maps: network.apply({"params": params}, maps, rows)
    nce = lambda q, k: losses.patch_nce(
      q[None], k[None], temperature=float(case.temperature), reduction="none"
    )[0]
    values = [nce(q, k) for q, k in zip(embed(queries), embed(keys), strict=True)]
    return sum(jnp.mean(value) / count for value in values), values

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
  (value, by_row), (by_weight, by_query, by_key) = grad(params, queries, keys)
  assert_close(value, case.loss, 1e-4, 1e-5)
  for i in range(count):
    assert_close(by_row[i], case[f"loss_rows{i}"], 1e-4, 1e-5)
    assert_close(by_row[i].mean() / count, case[f"loss{i}"], 1e-4, 1e-5)
    assert_close(by_query[i], case[f"grad_q{i}"], 1e-4, 1e-5)
    assert not by_key[i].any()
  tensors, recorded = weights.to_torch({"params": by_weight}), case.group("grad_w/")
  for name, expected in recorded.items():
    assert_close(tensors[name], expected, 1e-4, 1e-5)


def count(shapes) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.fast
def test_published_sizes_and_numbers_of_parameters():
  image = jax.ShapeDtypeStruct((2, 640, 640, 3), jnp.float32)
  generator = translation.SplitGenerator()
  (_, maps), variables = jax.eval_shape(generator.init_with_output, KEY, image)
  assert [x.shape for x in maps] == [
    (2, 646, 646, 3), (2, 640, 640, 128), (2, 320, 320, 256), (2, 160, 160, 256)
  ]  # fmt: skip
  parts = {True: 0, False: 0}
  for name, params in variables["params"].items():
    parts[name.startswith("decoder")] += count(params)
  assert parts == {False: 6_279_296, True: 5_164_675}
  rows = [jnp.zeros(256, int)] * 4
  assert count(jax.eval_shape(translation.PatchProjection().init, KEY, maps, rows)) == 428_800
  discriminator = translation.PatchDiscriminator(torch_init=True)
  scores, d = jax.eval_shape(discriminator.init_with_output, KEY, image)
  assert scores.shape == (2, 78, 78, 1) and count(d) == 2_764_737


@pytest.mark.fast
def test_rows_are_distinct_and_of_the_whole_batch():
  rows = translation.draw_rows(KEY, [jnp.zeros((2, 30, 20, 3)), jnp.zeros((2, 3, 4, 5))])
  assert rows[0].shape == (256,) and len(set(rows[0].tolist())) == 256
  assert rows[0].min() < 600 < rows[0].max() < 1200
  assert sorted(rows[1].tolist()) == list(range(24))


def test_networks_start_as_in_pytorch():
  networks = {
    "generator": translation.SplitGenerator(width=8, blocks=1, decoder_blocks=1, nce_layers=(12,)),
    "discriminator": translation.PatchDiscriminator(width=8, torch_init=True),
  }
  image = jnp.zeros((1, 24, 24, 3))
  for name, network in networks.items():
    params = jax.jit(network.init)(KEY, image)["params"]
    layers = jax.tree.leaves(params, is_leaf=lambda x: "kernel" in x)
    assert len(layers) > 4, name
    for layer in layers:
      bound = np.prod(layer["kernel"].shape[:3]) ** -0.5
      largest = np.abs(layer["kernel"]).max() / bound
      assert 0.9 < largest <= 1.0001, name
      assert 0.2 < np.abs(layer["bias"]).max() / bound <= 1.0001, name
