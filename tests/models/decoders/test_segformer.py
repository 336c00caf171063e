"""The all-MLP head agrees with the references: as scale attention and as feature weighter."""

import functools

import golden_models
import jax
import jax.numpy as jnp
import pytest
from golden_cases import assert_close, golden

from jax_uda import models
from jax_uda.models.decoders import segformer

MODE = {"train": False, "use_running_average": True}


@pytest.mark.parametrize("case", golden("base/hrda_attention_head"))
def test_scale_attention_matches_reference(case):
  width = int(case.embed_dim)
  head = segformer.SegFormerHead(num_classes=int(case.num_classes), embed_dim=width, channels=width)
  features = golden_models.numbered(case, "feat")
  variables = golden_models.level_fusion(head, features, case.group("w/"))

  @jax.jit
  def run(features):
    logits, pullback = jax.vjp(lambda f: head.apply(variables, f, **MODE)[0], features)
    return logits, pullback(jnp.asarray(case.cot))[0]

  logits, gradients = run(features)
  assert_close(logits, case.out, 1e-4)
  assert_close(jax.nn.sigmoid(logits), case.sigmoid_out, 1e-4)
  for i, gradient in enumerate(gradients, 1):
    assert_close(gradient, case[f"grad_feat{i}"], 1e-4)


@pytest.mark.parametrize("case", golden("cluda/feat_weighter"))
def test_feature_weighter_matches_reference(case):
  head = segformer.SegFormerHead(
    num_classes=int(case.num_classes),
    embed_dim=int(case.embed_dims),
    channels=int(case.channels),
    dropout=0.0,
  )
  golden_models.check_level_fusion(case, head)


@pytest.mark.parametrize(
  "options, total",
  [
    # The reference's 3,167,398 contain a classifier 128 -> 19 that it never calls.
    ({}, 3_167_398 - 129 * 19),
    ({"embed_dim": 256, "channels": 256}, 530_707),
  ],
)
def test_heads_on_mit_b5_have_the_published_number_of_parameters(options, total):
  model = models.build(
    encoder="mit_b5", decoder="segformer", num_classes=19, decoder_options=options
  )
  shapes = jax.eval_shape(
    functools.partial(model.init, **MODE), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]["decoder"])) == total
