"""Checkpoints of plain Vision Transformers: four layouts fill one network, once and completely."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.models import catalog, weights

MODE = {"train": False, "use_running_average": True}
LISTS = [
  pytest.param(*param.values, id=param.id)
  for kind in ("dinov", "eupe", "lingbot")
  for param in golden(f"vfm_plus/names_{kind}")
]
ENCODERS = {  # by the model of a list
  "Dinov2WithRegistersModel large": "dinov2_vitl14_reg",
  "vit_large_patch14_reg4_dinov2": "dinov2_vitl14_reg",
  "vit_small_patch16_dinov3_qkvb": "dinov3_vits16",
  "vit_small_plus_patch16_dinov3_qkvb": "dinov3_vits16plus",
  "vit_base_patch16_dinov3_qkvb": "dinov3_vitb16",
  "vit_large_patch16_dinov3_qkvb": "dinov3_vitl16",
  "vit_tiny_patch16_dinov3_qkvb": "eupe_vitt16",
  "vit_small_patch16_lingbot": "lingbot_vits16",
}


@functools.cache
def shapes_of(name):
  init = functools.partial(catalog.ENCODERS[name]().init, **MODE)
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  return {"params": {"encoder": shapes["params"]}}


def total(tensors):
  """Sum of all numbers; that of constants, without their copies in memory."""
  sums = [np.ravel(t)[0] * t.size if not any(t.strides) else t.sum(dtype=float) for t in tensors]
  return sum(map(float, sums))


@pytest.mark.parametrize("case", LISTS)
def test_a_checkpoint_fills_the_full_size_network_once_and_leaves_nothing_over(case):
  # One constant per tensor: what is split, joined, lost or doubled changes the sum.
  tensors = {
    entry["name"]: np.broadcast_to(np.float32(i + 1), entry["shape"])
    for i, entry in enumerate(case["entries"])
  }
  name = ENCODERS.get(case["model"], case["model"])
  shapes = shapes_of(name)
  reference = weights.to_reference(tensors)
  filled = weights.from_torch(reference, shapes)
  assert jax.tree.structure(filled) == jax.tree.structure(shapes)
  buffers = [entry["name"] for entry in case["entries"] if entry["role"] == "buffer"]
  assert all(key.endswith(("bias_mask", "periods")) for key in buffers)
  used = {key: tensor for key, tensor in tensors.items() if key not in buffers}
  if name.startswith("dinov3") and "storage_tokens" in used:  # the masked third is the keys'
    for key in [key for key in used if key.endswith("qkv.bias")]:
      used[key] = used[key][: len(used[key]) // 3 * 2]
  np.testing.assert_allclose(total(reference.values()), total(used.values()), rtol=1e-12)
  dim = used["cls_token" if "cls_token" in used else "embeddings.cls_token"].shape[-1]
  # timm has no mask token and, of DINOv2 with registers, no position of the cls token.
  zeros = dim * ("timm" in case["naming"]) * (2 if "pos_embed" in used else 1)
  size = sum(tensor.size for tensor in used.values())
  assert sum(leaf.size for leaf in jax.tree.leaves(filled)) == size + zeros


def as_huggingface(tensors):
  """Official names of DINOv3 in transformers' words."""
  gated = any(".mlp.w3." in name for name in tensors)
  words = {"mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.up_proj", "mlp.w3": "mlp.down_proj"}
  if not gated:
    words = {"mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"}
  words |= {"attn.proj": "attention.o_proj", "norm1": "norm1", "norm2": "norm2"}
  outside = {
    "cls_token": "embeddings.cls_token",
    "storage_tokens": "embeddings.register_tokens",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
  }
  result = {"embeddings.mask_token": tensors["mask_token"][None]}
  for name, tensor in tensors.items():
    if name in outside:
      result[outside[name]] = tensor
    elif name.startswith("blocks.") and not name.endswith("bias_mask"):
      _, number, *inner, leaf = name.split(".")
      start, part = f"layer.{number}.", ".".join(inner)
      if part == "attn.qkv":
        for letter, third in zip("qkv", np.split(tensor, 3), strict=True):
          if (letter, leaf) != ("k", "bias"):
            result[f"{start}attention.{letter}_proj.{leaf}"] = third
      elif part in ("ls1", "ls2"):
        result[f"{start}layer_scale{part[-1]}.lambda1"] = tensor
      else:
        result[f"{start}{words[part]}.{leaf}"] = tensor
  return result


def as_timm(tensors):
  """Official names of DINOv3 in timm's words."""
  gated = any(".mlp.w3." in name for name in tensors)
  words = {"mlp.w1": "mlp.fc1_g", "mlp.w2": "mlp.fc1_x", "mlp.w3": "mlp.fc2"} if gated else {}
  words |= {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
  result = {}
  for name, tensor in tensors.items():
    if name.endswith("attn.qkv.bias"):
      query, _, value = np.split(tensor, 3)
      result[name.replace("qkv.bias", "q_bias")] = query
      result[name.replace("qkv.bias", "v_bias")] = value
    elif not name.endswith(("bias_mask", "periods", "mask_token")):
      for old, new in words.items():
        name = name.replace(f".{old}", f".{new}")
      result[name.replace("storage_tokens", "reg_token")] = tensor
  return result


def assert_equal(results, expected):
  assert results.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(results[name], expected[name], err_msg=name)


@pytest.mark.fast
@pytest.mark.parametrize("case", golden("base/dino3_tiny"))
def test_all_layouts_of_dinov3_are_one(case):
  official = case.group("w/")
  expected = weights.to_reference(official)
  assert "backbone.blocks.0.attn.q_bias" in expected
  assert not any(name.endswith(("qkv.bias", "bias_mask", "periods")) for name in expected)
  huggingface = as_huggingface(official)
  assert_equal(weights.to_reference(huggingface), expected)
  for prefix in ("model.", "dinov3_vit."):  # in front of the blocks
    prefixed = {(prefix if "layer." in k else "") + k: t for k, t in huggingface.items()}
    assert_equal(weights.to_reference(prefixed), expected)
  further = {"local_cls_norm.weight": 1, "projectors.0.weight": 2}
  assert_equal(weights.to_reference(official | further), expected)
  without_mask = expected | {"backbone.mask_token": np.zeros_like(official["mask_token"])}
  assert_equal(weights.to_reference(as_timm(official)), without_mask)
  no_bias = {k: t for k, t in as_timm(official).items() if not k.endswith(("q_bias", "v_bias"))}
  no_bias = weights.to_reference(no_bias)
  assert no_bias.keys() == expected.keys() and not no_bias["backbone.blocks.0.attn.v_bias"].any()
  assert_equal(weights.to_reference(expected), expected)  # as exported


@pytest.mark.fast
@pytest.mark.parametrize("case", golden("base/dino2_reg_tiny"))
def test_all_layouts_of_dinov2_with_registers_are_one(case):
  official = case.group("w/")
  expected = weights.to_reference(official)
  assert expected.keys() == {f"backbone.{name}" for name in official}
  timm = {k.replace("register_tokens", "reg_token"): t for k, t in official.items()}
  timm["pos_embed"] = official["pos_embed"][:, 1:]
  del timm["mask_token"]
  result = weights.to_reference(timm)
  assert result.keys() == expected.keys()
  np.testing.assert_array_equal(result["backbone.pos_embed"][:, 1:], official["pos_embed"][:, 1:])
  assert not result["backbone.pos_embed"][:, 0].any() and not result["backbone.mask_token"].any()


@pytest.mark.fast
def test_a_damaged_file_is_complained_about_by_name():
  dim, name = 192, "eupe_vitt16"
  complete = weights.to_torch(jax.tree.map(lambda s: np.zeros(s.shape), shapes_of(name)))
  file = {key.removeprefix("backbone."): tensor for key, tensor in complete.items()}
  file["blocks.0.attn.q.weight"] = file.pop("blocks.0.attn.qkv.weight")[:dim]
  file["blocks.1.attn.qkv.bias"] = np.zeros(7)
  with pytest.raises(
    ValueError, match=r"(?s)missing: backbone\.blocks\.0\.attn\.qkv.*blocks\.1\.attn\.qkv\.bias"
  ):
    weights.from_torch(weights.to_reference(file), shapes_of(name))
