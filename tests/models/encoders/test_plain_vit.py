"""DINOv2 with registers and DINOv3's graph agree with the reference implementations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import catalog, weights
from jax_uda.models.encoders import dinov2, dinov3
from jax_uda.models.layers import rotary

MODE = {"train": False, "use_running_average": True}


def make(case, **options):
  """The encoder of a file; DINOv3's taps are its maps."""
  sizes = {name: int(case[name]) for name in ("embed_dim", "depth", "num_heads", "num_registers")}
  assert int(case.patch) == (14 if "pos_grid" in case else 16)
  if "pos_grid" in case:
    return dinov2.DINOv2(**sizes, position_grid=int(case.pos_grid), enlarge=1.0, **options)
  ratio, gated = float(case.ffn_ratio), bool(case.swiglu)
  taps = {"taps": tuple(case.taps.tolist()), **options}
  return dinov3.DINOv3(**sizes, mlp_ratio=ratio, gated=gated, **taps)


def variables_of(case, encoder, tensors):
  init = functools.partial(encoder.init, **MODE)
  shapes = {"params": {"encoder": jax.eval_shape(init, jax.random.key(0), case.x)["params"]}}
  loaded = weights.from_torch(weights.to_reference(tensors), shapes)
  return {"params": jax.tree.map(jnp.asarray, loaded["params"]["encoder"])}


def torch_gradients(params):
  """By the checkpoint's names; of the biases of queries and values, what the file's `qkv.bias` has."""
  tensors = weights.to_torch({"params": {"encoder": params}})
  return {name.removeprefix("backbone."): tensor for name, tensor in tensors.items()}


def tokens_of(encoder, variables, x):
  """All tokens behind the last norm, [B, N, D]."""
  watched = lambda module, _: module.name == "norm"
  _, state = encoder.apply(variables, x, **MODE, capture_intermediates=watched)
  return state["intermediates"]["norm"]["__call__"][-1]


def check_gradients(case, gradients):
  checked = set()
  for name, expected in case.group("grad_w/").items():
    if name.endswith("qkv.bias") and name not in gradients:
      query, key, value = np.split(expected, 3)
      assert not key.any()  # masked
      assert_close(gradients[name.replace("qkv.bias", "q_bias")], query, 1e-4, 1e-7)
      assert_close(gradients[name.replace("qkv.bias", "v_bias")], value, 1e-4, 1e-7)
    else:
      assert_close(gradients[name], expected, 1e-4)
    checked.add(name)
  assert len(checked) >= 5


def run_all(case, encoder, cotangents):
  """Maps and gradients of the file's network, jitted."""
  variables, x = variables_of(case, encoder, case.group("w/")), jnp.asarray(case.x)

  @jax.jit
  def run(variables, x):
    forward = lambda variables, x: encoder.apply(variables, x, **MODE)
    maps, pullback = jax.vjp(forward, variables, x)
    return maps, pullback(cotangents), tokens_of(encoder, variables, x)

  maps, (gradients, grad_x), tokens = run(variables, x)
  assert_close(grad_x[:, ::4, ::4], case.grad_x_sub4, 1e-4)
  check_gradients(case, torch_gradients(gradients["params"]))
  assert_close(tokens[:, 0], case.cls, 1e-4)
  assert_close(tokens[:, 1 : 1 + int(case.num_registers)], case.registers, 1e-4)
  return variables, maps


@pytest.mark.parametrize("case", golden("base/dino2_reg_tiny"))
def test_dinov2_with_registers_matches_the_reference(case):
  encoder = make(case)
  variables, maps = run_all(case, encoder, (jnp.asarray(case.cot),))
  assert_close(maps[0], case.feats, 1e-4)
  mask = jnp.asarray(case.mask, bool).reshape(case.feats.shape[:3])
  (masked,) = jax.jit(functools.partial(encoder.apply, **MODE))(
    variables, jnp.asarray(case.x), token_mask=mask
  )
  assert_close(masked, case.feats_masked, 1e-4)
  positions = variables["params"]["pos_embed"]
  resized = dinov2.position_embedding(positions, case.feats.shape[1:3], antialias=True)
  assert_close(resized, case.pos_at_grid, 2e-5)
  for part in case.parts("p"):
    grid = tuple(part.grid.tolist())
    resized = dinov2.position_embedding(jnp.asarray(part.pos_embed), grid, antialias=True)
    assert_close(resized, part.out, 2e-5)


@pytest.mark.parametrize("case", golden("base/dino3_tiny"))
def test_dinov3_matches_the_reference(case, monkeypatch):
  encoder, taps = make(case), case.taps.tolist()
  cotangents = tuple(jnp.asarray(case[f"cot_tap{tap}"]) for tap in taps)
  variables, maps = run_all(case, encoder, cotangents)
  for tap, normed in zip(taps, maps, strict=True):
    assert_close(normed, case[f"tap{tap}_norm"], 1e-4)
  assert_close(maps[-1], case.feats, 1e-4)
  scanned = encoder.clone(tap_norm=False, scan_blocks=True, remat=True)
  last = encoder.clone(taps=(), rope_rescale=2.0)
  drawn = []
  monkeypatch.setattr(
    rotary, "draw_rescale", lambda *args: drawn.append(args) or float(case.rescale)
  )

  @jax.jit
  def others(variables, x, mask):
    rescaled = last.apply(
      variables, x, train=True, use_running_average=True, rngs={"positions": jax.random.key(0)}
    )
    return (
      scanned.apply(variables, x, **MODE),
      last.apply(variables, x, token_mask=mask, **MODE)[0],
      rescaled[0],
    )

  mask = jnp.asarray(case.mask, bool).reshape(case.feats.shape[:3])
  raw, masked, rescaled = others(variables, jnp.asarray(case.x), mask)
  for tap, x in zip(taps, raw, strict=True):
    assert_close(x, case[f"tap{tap}_raw"], 1e-4)
  assert_close(masked, case.feats_masked, 1e-4)
  assert_close(rescaled, case.feats_rescaled, 1e-4)
  assert len(drawn) == 1 and drawn[0][1] == 2.0  # in training alone
  wrong = np.abs(maps[-1] - case.feats_if_bias_mask_ignored).max()
  assert wrong > 1e-2  # the biases of the keys are in the file, and are not zero


@pytest.mark.parametrize("case", golden("base/dino3_rope"))
def test_rotary_positions_match_the_reference(case):
  for part in case.parts():
    grid = tuple(part.grid.tolist())
    dim = part.sin.shape[-1]
    angles = rotary.angles(grid, dim, float(part.rescale))
    assert_close(angles, part.angles, 1e-5)
    by = rotary.rotation(grid, dim, float(part.rescale))
    assert_close(by.sin, part.sin, 1e-5)
    assert_close(by.cos, part.cos, 1e-5)
    assert_close(rotary.rotate(jnp.asarray(part.x), by), part.rotated, 1e-5)


@pytest.mark.fast
def test_rotation_is_float32_and_leaves_the_dtype():
  by = rotary.rotation((2, 3), 8)
  x = jnp.ones((1, 8, 2, 8), jnp.bfloat16)
  turned = rotary.rotate(x, by)
  assert by.sin.dtype == np.float32 and turned.dtype == jnp.bfloat16
  np.testing.assert_array_equal(turned[:, :2], x[:, :2])
  with pytest.raises(ValueError, match="multiple of 4"):
    rotary.rotation((2, 3), 6)


@pytest.mark.fast
def test_the_factor_of_the_coordinates_stays_in_its_bounds():
  draws = jax.vmap(lambda key: rotary.draw_rescale(key, 2.0))(
    jax.random.split(jax.random.key(0), 999)
  )
  assert 0.5 <= draws.min() < 0.51 and 1.96 < draws.max() <= 2
  assert abs(np.median(draws) - 1) < 0.1


@pytest.mark.fast
def test_dinov3_takes_images_of_any_size():
  grid = lambda **options: dinov3.DINOv3(**options).token_grid(33, 47)
  assert grid() == (3, 3) and grid(size="crop") == (2, 2)
  with pytest.raises(ValueError, match="9x40 holds no patch of 16x16"):
    dinov3.DINOv3(size="crop").token_grid(9, 40)
  with pytest.raises(ValueError, match="'pad' must be 'resize' or 'crop'"):
    grid(size="pad")
  tiny = dinov3.DINOv3(**dinov3.DINOv3.tiny, size="crop")
  image = jnp.arange(2 * 33 * 47 * 3.0).reshape(2, 33, 47, 3)
  np.testing.assert_array_equal(tiny.fit(image, (2, 2)), image[:, :32, :32])


@pytest.mark.fast
@pytest.mark.parametrize("taps", [(1, 0), (0, 0), (0, 2), (-1,)])
def test_taps_that_are_no_blocks_are_refused(taps):
  encoder = dinov3.DINOv3(embed_dim=8, depth=2, num_heads=1, taps=taps)
  with pytest.raises(ValueError, match="ascending numbers of blocks, 0 to 1"):
    jax.eval_shape(
      functools.partial(encoder.init, **MODE), jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )


@pytest.mark.fast
@pytest.mark.parametrize(
  "name, parameters",  # the officials' numbers without DINOv3's masked biases of the keys
  [
    ("dinov2_vits14_reg", 22_058_112),
    ("dinov2_vitb14_reg", 86_583_552),
    ("dinov2_vitl14_reg", 304_372_736),
    ("dinov3_vits16", 21_601_152 - 12 * 384),
    ("dinov3_vits16plus", 28_697_472 - 12 * 384),
    ("dinov3_vitb16", 85_669_632 - 12 * 768),
    ("dinov3_vitl16", 303_154_176 - 24 * 1024),
    ("eupe_vitt16", 5_489_664 + 192),  # and the mask token, which timm has not
    ("lingbot_vits16", 21_596_160 + 384),
    ("lingbot_vitb16", 85_659_648 + 768),
    ("lingbot_vitl16", 303_128_576 + 1024),
  ],
)
def test_the_published_numbers_of_parameters(name, parameters):
  init = functools.partial(catalog.ENCODERS[name]().init, **MODE)
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters
