"""The DAFormer head agrees with the reference."""

import functools

import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import weights
from jax_uda.models.decoders import daformer

EVAL = {"train": False, "use_running_average": True}


def load(case):
  head = daformer.DAFormerHead(
    num_classes=int(case.num_classes),
    embed_dim=int(case.embed_dim),
    channels=int(case.channels),
    dilations=tuple(case.dilations.tolist()),
    dropout=float(case.dropout_ratio),
  )
  features = golden_models.numbered(case, "feat")
  shapes = jax.eval_shape(functools.partial(head.init, **EVAL), jax.random.key(0), features)
  return head, features, weights.from_torch(case.group("w/"), shapes)


@pytest.mark.parametrize("mode, rtol", [("eval", 1e-4), ("train", 3e-4)])
@pytest.mark.parametrize("case", golden("base/daformer_head"))
def test_matches_reference(case, mode, rtol):
  head, features, variables = load(case)
  training = {"train": mode == "train", "use_running_average": mode == "eval"}

  @jax.jit
  def run(params, features):
    def forward(params, features):
      (logits, _), state = head.apply(
        {**variables, "params": params}, features, mutable=["batch_stats"], **training
      )
      return logits, state

    logits, pullback, state = jax.vjp(forward, params, features, has_aux=True)
    return logits, pullback(jnp.asarray(case.cot)), state

  logits, (grad_params, grad_features), state = run(variables["params"], features)
  assert_close(logits, case[f"out_{mode}"], rtol)
  for i, gradient in enumerate(grad_features, 1):
    assert_close(gradient, case[f"grad_feat{i}_{mode}"], rtol)
  gradients = weights.to_torch({"params": grad_params})
  for name, expected in case.group(f"grad_w_{mode}/").items():
    assert_close(gradients[name], expected, rtol)
  statistics = weights.to_torch(state)
  if mode == "train":
    assert statistics.keys() == case.group("new_stats/").keys()
    for name, expected in case.group("new_stats/").items():
      assert_close(statistics[name], expected, rtol)
  else:
    for name, value in statistics.items():
      np.testing.assert_array_equal(value, case[f"w/{name}"])


@pytest.mark.parametrize("case", golden("cluda/fused_feature"))
def test_the_fused_map_matches_the_reference_of_cluda(case):
  head = daformer.DAFormerHead(
    num_classes=int(case.num_classes),
    embed_dim=int(case.embed_dims),
    channels=int(case.channels),
    dilations=tuple(case.dilations.tolist()),
    dropout=0.0,
  )
  golden_models.check_level_fusion(case, head)


def test_dropout_and_batch_statistics_are_switched_independently():
  features = tuple(
    jax.random.normal(jax.random.key(i), (2, 8 // 2**i, 8 // 2**i, 3)) for i in range(4)
  )
  head = daformer.DAFormerHead(num_classes=3, embed_dim=4, channels=4, dropout=0.5)
  variables = head.init(jax.random.key(0), features, **EVAL)
  run = lambda seed, **mode: head.apply(
    variables, features, rngs={"dropout": jax.random.key(seed)}, **mode
  )[0]
  teacher = {"train": False, "use_running_average": False}
  np.testing.assert_array_equal(run(1, **teacher), run(2, **teacher))
  assert np.abs(run(1, **teacher) - run(1, **EVAL)).max() > 1e-4
  dropout = {"train": True, "use_running_average": True}
  assert np.abs(run(1, **dropout) - run(2, **dropout)).max() > 1e-4
