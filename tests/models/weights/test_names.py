"""Names in public checkpoints: each fills the full-size network, once and completely."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda import models
from jax_uda.models import catalog, weights
from jax_uda.models.weights import names


@functools.cache  # tracing takes seconds
def shapes_of(encoder, decoder=None, hrda=False):
  """The variables' shapes of a network, or of an encoder alone; nothing is computed."""
  settings, size = ({"hrda": {"crop_size": (64, 64)}}, 128) if hrda else ({}, 64)
  module = (
    models.build(encoder=encoder, decoder=decoder, num_classes=19, **settings)
    if decoder
    else catalog.ENCODERS[encoder]()
  )
  init = functools.partial(module.init, train=False, use_running_average=True)
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
  return shapes if decoder else {kind: {"encoder": tree} for kind, tree in shapes.items()}


NETWORKS = {
  "dinov2_vitb14_huggingface": ("dinov2_vitb14",),
  "dinov2_vitb14_official": ("dinov2_vitb14",),
  "dinov2_vitl14_official": ("dinov2_vitl14",),
  "mit_b0_huggingface": ("mit_b0",),
  "mit_b0_segformer_official": ("mit_b0",),
  "mit_b5_huggingface": ("mit_b5",),
  "mit_b5_segformer_official": ("mit_b5",),
  "resnet101_torchvision": ("resnet101_torchvision_frozen",),
  "resnet101_v1c": ("resnet101_v1c",),
  "uda_daformer_mitb5": ("mit_b5", "daformer"),
  "uda_dlv2red_r101v1c": ("resnet101_v1c", "dlv2red"),
  "uda_hrda_daformer_mitb5": ("mit_b5", "daformer", True),
}


LISTS = {
  param.id.removeprefix("golden[base/names_").rstrip("]"): param for param in golden("base/names")
}


def lists():
  """Pytest parameters: the key in `NETWORKS`, the list."""
  return [pytest.param(name, *param.values, id=param.id) for name, param in LISTS.items()]


def random_tensors(shapes, seed=0):
  """Different numbers everywhere, by name, at the cost of one vector."""
  total = sum(int(np.prod(shape)) for shape in shapes.values())
  flat, start, tensors = np.random.default_rng(seed).random(total, np.float32), 0, {}
  for name, shape in shapes.items():
    stop = start + int(np.prod(shape))
    tensors[name], start = flat[start:stop].reshape(shape), stop
  return tensors


def official(encoder):
  """Random tensors under the official names of an encoder."""
  shapes = weights.to_torch(jax.tree.map(lambda s: np.empty(s.shape), shapes_of(encoder)))
  return random_tensors({n.removeprefix("backbone."): t.shape for n, t in shapes.items()})


def total(tensors):
  return sum(np.sum(tensor, dtype=np.float64) for tensor in tensors)


def test_every_list_of_names_has_a_network():
  assert LISTS.keys() == NETWORKS.keys()


@pytest.mark.parametrize("name, case", lists())
def test_a_checkpoint_fills_the_full_size_network_once_and_leaves_nothing_over(name, case):
  tensors = random_tensors({entry["name"]: entry["shape"] for entry in case["entries"]})
  prefixes = case.get("prefixes", [""])
  file = {prefix + key: tensor for prefix in prefixes for key, tensor in tensors.items()}
  shapes = shapes_of(*NETWORKS[name])
  filled = weights.from_torch(weights.to_reference(file), shapes)
  assert jax.tree.structure(filled) == jax.tree.structure(shapes)
  assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a.shape == b.shape, filled, shapes)))
  # Every number but those of the classifier and the counters is there exactly once.
  unused = ("head.", "fc.", "classifier.")
  used = [
    tensor
    for key, tensor in tensors.items()
    if not key.startswith(unused) and not key.endswith("num_batches_tracked")
  ]
  assert sum(t.size for t in used) == sum(leaf.size for leaf in jax.tree.leaves(filled))
  np.testing.assert_allclose(total(jax.tree.leaves(filled)), total(used), rtol=1e-9)


@pytest.mark.parametrize("name, case", lists())
def test_kernels_are_transposed_as_the_list_says(name, case):
  transposes = {entry["name"]: entry["flax_transpose"] for entry in case["entries"]}
  shapes = shapes_of(*NETWORKS[name])
  checked = 0
  for path in flax.traverse_util.flatten_dict(shapes):
    key = weights.torch_name(path)
    key = key if key in transposes else key.removeprefix("backbone.")
    if key in transposes:  # Hugging Face's are checked by value below
      checked += 1
      assert (transposes[key] is not None) == (path[-1] == "kernel"), key
  assert checked or name.endswith("huggingface")


# --- other names for the same tensors, translated by hand from the official ones ---


def assert_equal(found, expected):
  assert found.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def with_backbone(tensors):
  return {f"backbone.{name}": tensor for name, tensor in tensors.items()}


def huggingface_mit(tensors):
  """As in the table of names: key above value, stages counted from 0."""
  words = {
    "norm1": "layer_norm_1",
    "norm2": "layer_norm_2",
    "attn.q": "attention.self.query",
    "attn.sr": "attention.self.sr",
    "attn.norm": "attention.self.layer_norm",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "mlp.dense1",
    "mlp.fc2": "mlp.dense2",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
  }
  result = {}
  for name, tensor in tensors.items():
    module, *inner, leaf = name.split(".")
    kind, stage = module[:-1], int(module[-1]) - 1
    if kind == "patch_embed":
      word = {"proj": "proj", "norm": "layer_norm"}[inner[0]]
      result[f"encoder.patch_embeddings.{stage}.{word}.{leaf}"] = tensor
    elif kind == "norm":
      result[f"encoder.layer_norm.{stage}.{leaf}"] = tensor
    else:
      start = f"encoder.block.{stage}.{inner[0]}."
      part = ".".join(inner[1:])
      if part == "attn.kv":
        half = len(tensor) // 2
        result[f"{start}attention.self.key.{leaf}"] = tensor[:half]
        result[f"{start}attention.self.value.{leaf}"] = tensor[half:]
      else:
        result[f"{start}{words[part]}.{leaf}"] = tensor
  return result


def mmseg_mit(tensors):
  words = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.sr": "attn.sr",
    "attn.norm": "attn.norm",
    "attn.proj": "attn.attn.out_proj",
    "mlp.fc1": "ffn.layers.0",
    "mlp.dwconv.dwconv": "ffn.layers.1",
    "mlp.fc2": "ffn.layers.4",
  }
  result = {}
  for name, tensor in tensors.items():
    module, *inner, leaf = name.split(".")
    kind, stage = module[:-1], int(module[-1]) - 1
    if kind == "patch_embed":
      word = {"proj": "projection", "norm": "norm"}[inner[0]]
      result[f"layers.{stage}.0.{word}.{leaf}"] = tensor
    elif kind == "norm":
      result[f"layers.{stage}.2.{leaf}"] = tensor
    else:
      start, part = f"layers.{stage}.1.{inner[0]}.", ".".join(inner[1:])
      if part == "attn.q":
        both = np.concatenate([tensor, tensors[name.replace(".q.", ".kv.")]])
        result[f"{start}attn.attn.in_proj_{leaf}"] = both
      elif part != "attn.kv":
        conv = part in ("mlp.fc1", "mlp.fc2") and leaf == "weight"
        result[f"{start}{words[part]}.{leaf}"] = tensor[:, :, None, None] if conv else tensor
  return result


def huggingface_dinov2(tensors):
  result = {}
  for name, tensor in tensors.items():
    if not name.startswith("blocks."):
      new = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
      }[name]
      result[new] = tensor
      continue
    _, block, *inner, leaf = name.split(".")
    start, part = f"encoder.layer.{block}.", ".".join(inner)
    if part == "attn.qkv":
      for word, third in zip(("query", "key", "value"), np.split(tensor, 3), strict=True):
        result[f"{start}attention.attention.{word}.{leaf}"] = third
    elif part in ("ls1", "ls2"):
      result[f"{start}layer_scale{part[-1]}.lambda1"] = tensor
    else:
      word = {"attn.proj": "attention.output.dense"}.get(part, part)
      result[f"{start}{word}.{leaf}"] = tensor
  return result


@pytest.mark.parametrize("classifier", [False, True])
def test_segformer_of_huggingface_is_the_official_one(classifier):
  tensors = official("mit_b0")
  file = huggingface_mit(tensors)
  if classifier:
    file = {f"segformer.{name}": tensor for name, tensor in file.items()}
    file["classifier.weight"] = np.ones((1000, 256))
    expected = {entry["name"] for entry in LISTS["mit_b0_huggingface"].values[0]["entries"]}
    assert file.keys() | {"classifier.bias"} == expected
  assert_equal(weights.to_reference(file), with_backbone(tensors))


@pytest.mark.parametrize("whole", [False, True])
def test_mit_as_converted_by_mmseg_is_the_official_one(whole):
  tensors = official("mit_b0")
  file = mmseg_mit(tensors)
  assert "layers.2.1.1.attn.attn.in_proj_weight" in file and len(file) == len(tensors) - 16
  if whole:  # a released segmentation model
    file = with_backbone(file) | {"decode_head.conv_seg.bias": np.ones(19)}
    tensors = tensors | {"decode": 0}
    found = weights.to_reference(file)
    assert_equal(
      {"decode": 0, **{n: t for n, t in found.items() if n.startswith("backbone.")}},
      {"decode": 0, **with_backbone({n: t for n, t in tensors.items() if n != "decode"})},
    )
    assert "decode_head.conv_seg.bias" in found
  else:
    assert_equal(weights.to_reference(file), with_backbone(tensors))


def test_dinov2_of_huggingface_is_the_official_one():
  tensors = official("dinov2_vits14")
  assert_equal(weights.to_reference(huggingface_dinov2(tensors)), with_backbone(tensors))


def test_efficientnet_lite0_fits_without_its_classifier():
  tensors = official("efficientnet_lite0")
  classifier = {"_conv_head.weight": 0, "_bn1.running_mean": 0, "_fc.bias": 0}
  assert_equal(weights.to_reference(tensors | classifier), with_backbone(tensors))


def test_the_deeplab_of_spcl_and_rccr_has_a_decoder_called_layer5():
  file = {"conv1.weight": 1, "layer5.conv2d_list.2.bias": 2, "fc.weight": 3}
  assert weights.to_reference(file) == {
    "backbone.conv1.weight": 1,
    "decode_head.aspp_modules.2.conv.bias": 2,
  }


def rccr_init(classes=21, prefix="Scale."):
  """Names and shapes of the file from which RCCR starts, in small."""
  shapes = {
    "conv1.weight": (4, 3, 7, 7),
    "bn1.bias": (4,),
    "layer1.0.downsample.1.running_var": (16,),
  }
  for i in range(4):
    shapes |= {f"layer5.conv2d_list.{i}.weight": (classes, 16, 3, 3)}
    shapes |= {f"layer5.conv2d_list.{i}.bias": (classes,)}
  return {f"{prefix}{name}": np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["Scale.", "module.Scale.", "net.", "model.Scale."])
def test_the_initialisation_of_rccr_has_a_word_in_front(prefix):
  found = weights.to_reference(rccr_init(prefix=prefix))
  expected = {"conv1.weight", "bn1.bias", "layer1.0.downsample.1.running_var"}
  decoder = {f"decode_head.aspp_modules.{i}.conv.{x}" for i in range(4) for x in ("weight", "bias")}
  assert found.keys() == {f"backbone.{name}" for name in expected} | decoder


def test_of_two_classifiers_of_a_deeplab_the_auxiliary_one_is_left_out_and_named():
  file = {"conv1.weight": 1, "layer5.conv2d_list.0.bias": 2, "layer6.conv2d_list.0.bias": 3}
  translated = names.translate(file)
  assert translated.tensors == {
    "backbone.conv1.weight": 1,
    "decode_head.aspp_modules.0.conv.bias": 3,
  }
  assert translated.left_out == ("layer5.conv2d_list.0.bias",)


def test_the_classifier_beside_an_encoder_is_named():
  file = {"backbone.conv1.weight": 1, "classifier.4.bias": 2, "aux_classifier.4.bias": 3}
  translated = names.translate(file)
  assert translated.tensors == {"backbone.conv1.weight": 1}
  assert translated.left_out == ("classifier.4.bias", "aux_classifier.4.bias")


def test_a_word_in_front_stays_if_the_network_has_it():
  file = {"trunk.conv.weight": 1, "trunk.norm.bias": 2}
  assert weights.to_reference(file) == {"backbone.conv.weight": 1, "backbone.norm.bias": 2}
  known = {"backbone.trunk.conv.weight", "backbone.trunk.norm.bias"}
  assert names.translate(file, known=known).tensors.keys() == known


def test_what_counts_the_updates_of_an_average_is_no_weight():
  file = {"module.conv1.weight": 1, "module.bn.bias": 2, "n_averaged": 7}
  assert weights.to_reference(file) == {"backbone.conv1.weight": 1, "backbone.bn.bias": 2}


# --- one network out of a training run ---

RUN = {
  "module.model.backbone.norm1.weight": 1,
  "module.model.auxiliary_head.convs.0.bn.num_batches_tracked": 2,
  "module.ema_model.backbone.norm1.weight": 3,
  "module.imnet_model.backbone.norm1.weight": 4,
  "module.model.auxiliary_head.convs.0.bn.weight": 5,
  "something.else": 6,
}


def test_the_student_of_a_training_run_is_taken_unless_the_teacher_is_asked_for():
  student, teacher = weights.to_reference(RUN), weights.to_reference(RUN, "teacher")
  assert teacher == {
    "backbone.norm1.weight": 3,
    # What belongs to no known network is kept, for the complaint about unexpected tensors.
    "something.else": 6,
  }
  assert student == {
    "backbone.norm1.weight": 1,
    "auxiliary_head.convs.0.bn.weight": 5,
    "something.else": 6,
  }


def test_a_checkpoint_of_vfm_uda_fills_the_network():
  shapes = shapes_of("dinov2_vits14", "vit_head")
  tensors = weights.to_torch(jax.tree.map(lambda s: np.empty(s.shape), shapes))
  tensors = random_tensors({name: tensor.shape for name, tensor in tensors.items()})
  inner = {
    name.replace("backbone.", "encoder.").removeprefix("decode_head."): t
    for name, t in tensors.items()
  }
  assert {"upscale.0.weight", "upscale.6.bias", "out.weight", "encoder.mask_token"} <= inner.keys()
  file = {f"network.{name}": tensor for name, tensor in inner.items()}
  file |= {f"network_ema.{name}": tensor + 1 for name, tensor in inner.items()}
  file |= {"network.token_masking.mask_token": 0, "metrics.confmat": 0}
  assert_equal(weights.to_reference(file), tensors)
  assert_equal(weights.to_reference(file, "teacher"), {name: t + 1 for name, t in tensors.items()})
  weights.from_torch(weights.to_reference(file), shapes)


def test_a_teacher_that_is_not_in_the_file_is_asked_for_in_vain():
  with pytest.raises(ValueError, match="holds no teacher: no name in it begins with 'ema_model.'"):
    weights.to_reference({"model.backbone.norm1.weight": 0}, "teacher")
  with pytest.raises(ValueError, match="one network only"):
    weights.to_reference({"conv1.weight": 0}, "teacher")
  with pytest.raises(ValueError, match="^network = 'ema' is unknown"):
    weights.to_reference({"conv1.weight": 0}, "ema")


def test_two_tensors_never_become_one():
  signature = "encoder.patch_embeddings.0.proj.weight"
  with pytest.raises(ValueError, match=r"both patch_embed1\.proj\.weight"):
    weights.to_reference({signature: 0, f"segformer.{signature}": 1})


def test_no_encoder_in_official_names_is_taken_for_another():
  for encoder in ("mit_b0", "resnet50_v1c", "dinov2_vits14", "efficientnet_lite0", "compact"):
    tensors = official(encoder)
    assert weights.to_reference(tensors).keys() == with_backbone(tensors).keys()
  assert len(names.SCHEMES) == 3
