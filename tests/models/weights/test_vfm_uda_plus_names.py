"""Checkpoints of VFM-UDA++: the released ones, adapter pre-trainings, and DINOv2 without an adapter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda import models
from jax_uda.models import catalog, weights
from jax_uda.models.heads.distance import DistanceHead
from jax_uda.models.weights import names, safetensors_file

MODE = {"train": False, "use_running_average": True}
ENCODERS = {"base": "dinov2_vitb14_adapter", "large": "dinov2_vitl14_adapter"}
TINY = dict(embed_dim=8, depth=1, num_heads=2, position_grid=2)
ADAPTED = {**catalog.tiny("dinov2_vits14_adapter"), **TINY}


def shapes_of(model):
  init = functools.partial(model.init, **MODE)
  return dict(jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


def network(encoder, classes=19, heads=True, **options):
  head = {"distance": DistanceHead()} if heads else {}
  return models.build(
    encoder=encoder, decoder="pyramid", num_classes=classes, heads=head, encoder_options=options
  )


@pytest.mark.parametrize("case", golden("vfm_plus/names_vfm"))
def test_a_released_checkpoint_fills_the_network_once_and_leaves_nothing_over(case):
  tensors = {
    entry["name"]: np.broadcast_to(np.float32(i + 1), entry["shape"])
    for i, entry in enumerate(case["entries"])
  }
  encoder = next(name for size, name in ENCODERS.items() if f" {size}," in case["model"])
  shapes = shapes_of(network(encoder))
  known = {weights.torch_name(path) for path in _paths(shapes)}
  translated = names.translate(tensors, "student", known)
  assert not translated.left_out
  filled = weights.from_torch(translated.tensors, shapes)
  assert jax.tree.structure(filled) == jax.tree.structure(shapes)
  count = sum(leaf.size for leaf in jax.tree.leaves(filled["params"]))
  assert count == case["total_elements"]


def _paths(tree, *before):
  for name, value in tree.items():
    if hasattr(value, "items"):
      yield from _paths(value, *before, name)
    else:
      yield (*before, name)


@pytest.mark.fast
@pytest.mark.parametrize(
  "encoder, parameters, of_head",
  [
    ("dinov2_vits14_adapter", 27_384_032, 2_168_320),
    ("dinov2_vitb14_adapter", 104_153_216, 5_515_264),
    ("dinov2_vitl14_adapter", 334_523_456, 8_401_920),
  ],
)
def test_the_published_numbers_of_parameters(encoder, parameters, of_head):
  params = shapes_of(network(encoder))["params"]
  head = sum(leaf.size for leaf in jax.tree.leaves(params.pop("heads_distance")))
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
  assert head == of_head


def random_variables(model, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes_of(model))


def released_names(variables, prefix="network."):
  """As a file of the reference names its student."""
  tensors = {}
  for name, tensor in weights.to_torch(variables).items():
    name = name.replace("backbone.", "encoder.").removeprefix("decode_head.")
    is_head = name.startswith("network_feature_head.")
    tensors[name if is_head else prefix + name] = tensor
  return tensors


@pytest.fixture
def tiny():
  return network("dinov2_vits14_adapter", 3, **ADAPTED)


def test_a_released_file_is_read_with_and_without_the_distance_head(tiny, tmp_path):
  variables = random_variables(tiny)
  file = tmp_path / "released.safetensors"
  teacher = released_names({"params": random_variables(tiny, 1)["params"]}, "network_ema.")
  frozen = {"network_feature_extractor.encoder.cls_token": np.ones((1, 1, 3), np.float32)}
  student = released_names(variables)
  statistics = {
    name: tensor
    for name, tensor in released_names(random_variables(tiny, 1), "network_ema.").items()
    if "running" in name
  }
  safetensors_file.write(file, teacher | statistics | frozen | student, {})
  for model in (tiny, network("dinov2_vits14_adapter", 3, heads=False, **ADAPTED)):
    filled, loaded = weights.load(random_variables(model, 2), file)
    assert not loaded.untouched
    for part in filled["params"]:
      jax.tree.map(np.testing.assert_array_equal, filled["params"][part], variables["params"][part])


def test_an_adapter_pre_training_fills_the_encoder_alone(tiny, tmp_path):
  variables, file = random_variables(tiny), tmp_path / "pretrained.safetensors"
  tensors = {
    name: tensor
    for name, tensor in released_names(variables).items()
    if name.startswith("network.encoder.")
  }
  head = {"network.head.0.weight": np.ones((4, 8), np.float32)}
  safetensors_file.write(file, tensors | head, {})
  filled, loaded = weights.load(random_variables(tiny, 1), file)
  assert loaded.parts == ("encoder",) and loaded.untouched == ("decoder", "heads_distance")
  jax.tree.map(
    np.testing.assert_array_equal, filled["params"]["encoder"], variables["params"]["encoder"]
  )


def test_a_plain_dinov2_fills_the_blocks_and_leaves_the_adapter_random(tiny, tmp_path):
  plain = catalog.ENCODERS["dinov2_vits14"](**{**TINY, "patch": 16})
  shapes = {kind: {"encoder": tree} for kind, tree in shapes_of(plain).items()}
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
  tensors = {n.removeprefix("backbone."): t for n, t in weights.to_torch(variables).items()}
  file = tmp_path / "dinov2_vits14_pretrain.safetensors"
  safetensors_file.write(file, tensors, {})
  before = random_variables(tiny)
  filled, loaded = weights.load(before, file)
  assert "encoder's adapter" in loaded.untouched
  assert set(loaded.left_out) == {
    "backbone.mask_token",
    "backbone.norm.weight",
    "backbone.norm.bias",
  }
  encoder = filled["params"]["encoder"]
  expected = variables["params"]["encoder"]["blocks_0"]
  jax.tree.map(np.testing.assert_array_equal, encoder["blocks_0"], expected)
  for name in ("spm", "level_embed", "interactions_0"):
    jax.tree.map(np.testing.assert_array_equal, encoder[name], before["params"]["encoder"][name])
