"""Layer-wise learning-rate decay gives every parameter the reference's factor."""

import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.common.registry import SettingError
from jax_uda.models import catalog
from jax_uda.run import optimizer_config
from jax_uda.step import layer_decay, optimizer

pytestmark = pytest.mark.fast


def path_of(name):
  """Our path of a parameter of the checkpoint."""
  return re.sub(r"\.(\d+)\.", r"_\1.", name).replace(".", "/")


def updates(paths, decay, learning_rate=1.0, weight_decay=0.0):
  """What SGD does with gradients of 1 and parameters of 2, by path."""
  tree = flax.traverse_util.unflatten_dict({tuple(path.split("/")): 1.0 for path in paths})
  grads = jax.tree.map(jnp.float32, tree)
  params = jax.tree.map(lambda x: 2 * x, grads)
  tx = optimizer.build(
    lambda step: learning_rate,
    name="sgd",
    momentum=0.0,
    weight_decay=weight_decay,
    groups=[optimizer.Group("norm", weight_decay=0.0)],
    layer_decay=decay,
  )
  changes = jax.jit(lambda grads, params: tx.update(grads, tx.init(params), params)[0])(
    grads, params
  )
  flat = flax.traverse_util.flatten_dict(changes, sep="/")
  return np.array([-flat[path] for path in paths])


@pytest.mark.parametrize("case", golden("base/layer_decay"))
def test_the_factors_of_both_rules_match_the_reference(case):
  for part in case.parts():
    depth, decay = int(part.depth), float(part.decay)
    rule = layer_decay.LayerDecay(decay, depth, "blocks", multiplier=float(part.multiplier))
    paths = [path_of(str(name)) for name in part.names]
    np.testing.assert_allclose([rule.factor(path) for path in paths], part.lr_factor, rtol=1e-6)
    assert_close(updates(paths, rule, float(part.scaled_lr)), part.lr_at_peak, 1e-6)
    rule = layer_decay.LayerDecay(decay, depth)
    paths = [path_of(f"encoder.{name}") for name in part.encoder_names]
    np.testing.assert_allclose(
      [rule.factor(path) for path in paths], part.lr_factor_layers_rule, rtol=1e-6
    )


def test_weight_decay_and_groups_stay():
  rule = layer_decay.LayerDecay(0.5, 2)
  paths = ["encoder/blocks_1/norm1/scale", "encoder/blocks_1/mlp/kernel", "decoder/kernel"]
  # gradient 1, and the decay 0.1 * 2 where the groups let it act
  np.testing.assert_allclose(updates(paths, rule, weight_decay=0.1), [0.5, 0.5 * 1.2, 1.2])


def test_adapters_learn_as_the_decoder_does():
  rule = layer_decay.LayerDecay(0.5, 2, multiplier=0.1)
  paths = ["encoder/blocks_0/attn/qkv/lora_a", "encoder/reins/scale", "decoder/kernel"]
  assert [rule.factor(path) for path in paths] == [1, 1, 1]


def test_the_config_needs_a_plain_vit_or_a_depth():
  make, path = optimizer_config._layer_decay, r"^optimizer\.layer_decay"
  assert make(0.9, 12) == layer_decay.LayerDecay(0.9, 12)
  assert make({"decay": 0.8, "rule": "blocks", "depth": 3}, None).depth == 3
  assert catalog.ENCODERS["dinov3_vitl16"]().depth == 24
  for value, depth, sentence in (
    (0.9, None, " is for plain Vision Transformers"),
    (1.5, 12, r"\.decay = 1\.5 must lie between 0 and 1"),
    ({"decay": 0.9, "rule": "block"}, 12, r"\.rule = 'block' is unknown"),
    ({"rate": 0.9}, 12, ".*rate"),
  ):
    with pytest.raises(SettingError, match=path + sentence):
      make(value, depth)
  with pytest.raises(SettingError, match=r"depth = 2, but .*blocks_2/norm1/scale"):
    layer_decay.LayerDecay(0.9, 2).factor("encoder/blocks_2/norm1/scale")
