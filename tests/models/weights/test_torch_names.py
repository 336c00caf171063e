"""Our parameters and the reference's, both ways."""

import functools
import json

import flax
import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import models
from jax_uda.models import weights

MODE = {"train": False, "use_running_average": True}
PARAM_GROUPS = golden_cases.ROOT / "base" / "param_groups_daformer_mitb0.json.gz"
DACS_STEPS = golden_cases.ROOT / "base" / "dacs_steps.npz"


def shapes_of(model):
  return jax.eval_shape(
    functools.partial(model.init, **MODE), jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )


def names_of(variables, collection):
  flat = flax.traverse_util.flatten_dict({collection: variables[collection]})
  return [weights.torch_name(path) for path in flat]


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def daformer(encoder):
  return shapes_of(models.build(encoder=encoder, decoder="daformer", num_classes=19))


def tiny_daformer():
  case = golden_cases.load(DACS_STEPS)
  sizes = {k: tuple(case[k].tolist()) for k in ("embed_dims", "num_heads", "depths")}
  width = int(case.head_embed)
  model = models.build(
    encoder="mit_b0",
    decoder="daformer",
    num_classes=int(case.num_classes),
    encoder_options={**sizes, "mlp_ratio": int(case.mlp_ratio)},
    decoder_options={"embed_dim": width, "channels": width},
  )
  shapes = [tuple(json.loads(str(s))) for s in case.param_shapes]
  parts = np.split(case.student_w0_flat, np.cumsum([np.prod(s, dtype=int) for s in shapes])[:-1])
  tensors = {
    str(name): part.reshape(shape)
    for name, part, shape in zip(case.param_names, parts, shapes, strict=True)
  }
  return case, model, tensors


@pytest.mark.parametrize(
  "encoder, total",
  {
    "mit_b0": 3_319_392,
    "mit_b1": 13_151_424,
    "mit_b2": 24_196_288,
    "mit_b3": 44_072_128,
    "mit_b4": 60_842_688,
    "mit_b5": 81_443_008,
  }.items(),
)
def test_the_encoders_have_the_published_number_of_parameters(encoder, total):
  module = models.catalog.ENCODERS[encoder]()
  assert count(shapes_of(module)["params"]) == total


def test_daformer_with_mit_b5_has_the_published_number_of_parameters():
  assert count(daformer("mit_b5")["params"]) == 85_155_283


def test_names_are_those_of_the_reference_one_to_one():
  rows = golden_cases.load(PARAM_GROUPS)["rows"]
  ours = [f"model.{name}" for name in names_of(daformer("mit_b0"), "params")]
  assert sorted(ours) == sorted(row[0] for row in rows)


def test_a_whole_network_survives_the_round_trip():
  case, model, tensors = tiny_daformer()
  shapes = shapes_of(model)
  params = weights.from_torch(tensors, {"params": shapes["params"]})
  back = weights.to_torch(params)
  flat = np.concatenate([back[str(name)].ravel() for name in case.param_names])
  np.testing.assert_array_equal(flat, case.student_w0_flat)
  statistics = names_of(shapes, "batch_stats")
  assert sorted(statistics) == sorted(map(str, case.bn_stat_names))


def test_every_tensor_that_does_not_fit_is_named():
  _, model, tensors = tiny_daformer()
  shapes = {"params": shapes_of(model)["params"]}
  tensors["backbone.norm9.weight"] = np.ones(3)
  tensors["decode_head.fuse_layer.bottleneck.bn.num_batches_tracked"] = np.ones(())
  del tensors["backbone.norm1.bias"]
  tensors["decode_head.conv_seg.bias"] = np.ones(7)
  with pytest.raises(ValueError) as error:
    weights.from_torch(tensors, shapes)
  assert str(error.value).splitlines()[1:] == [
    "missing: backbone.norm1.bias",
    "unexpected: backbone.norm9.weight",
    "of the wrong shape (in our layout): decode_head.conv_seg.bias (7,) for (5,)",
  ]


def test_asymmetric_kernels_are_transposed_not_reshaped():
  linear = np.arange(6).reshape(2, 3)
  conv = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
  shapes = {
    "params": {
      "a": {"kernel": jax.ShapeDtypeStruct((3, 2), np.float32)},
      "b": {"kernel": jax.ShapeDtypeStruct((4, 5, 3, 2), np.float32)},
    }
  }
  params = weights.from_torch({"a.weight": linear, "b.weight": conv}, shapes)["params"]
  assert params["a"]["kernel"][2, 1] == linear[1, 2]
  assert params["b"]["kernel"][3, 4, 2, 1] == conv[1, 2, 3, 4]
