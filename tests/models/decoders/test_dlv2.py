"""The DeepLabV2 head agrees with the reference."""

import functools

import jax
import jax.numpy as jnp
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import weights
from jax_uda.models.decoders import dlv2

pytestmark = pytest.mark.fast

MODE = {"train": False, "use_running_average": True}


def run(x, tensors, num_classes, dilations, cotangent=None):
  """The logits and, for a cotangent, the gradient of x."""
  head = dlv2.DLV2Head(num_classes=num_classes, dilations=tuple(dilations))
  shapes = jax.eval_shape(functools.partial(head.init, **MODE), jax.random.key(0), [x])
  names = {
    weights.torch_name(("params", f"aspp_modules_{i}", "conv", leaf))
    for i in range(len(dilations))
    for leaf in ("kernel", "bias")
  }
  variables = weights.from_torch({name: tensors[name] for name in names}, shapes)
  logits, pullback = jax.vjp(lambda x: head.apply(variables, [x], **MODE)[0], x)
  return logits, None if cotangent is None else pullback(jnp.asarray(cotangent))[0]


@pytest.mark.parametrize("case", golden("base/dlv2_head"))
def test_matches_reference(case):
  dilations = case.dilations.tolist()
  x, tensors = jnp.asarray(case.x), case.group("w/")
  logits, grad_x = run(x, tensors, int(case.num_classes), dilations, case.cot)
  assert_close(logits, case.logits, 1e-5)
  assert_close(grad_x, case.grad_x, 1e-5)
  reduced, _ = run(x, tensors, int(case.num_classes), dilations[:2])
  assert_close(reduced, case.logits_d2, 1e-5)


@pytest.mark.parametrize("case", golden("rccr/classifier_two_branch"))
def test_two_branches_are_the_classifier_that_returns_early(case):
  tensors = {}
  for i, (kernel, bias) in enumerate(zip(case.w, case.b, strict=True)):
    tensors[f"aspp_modules.{i}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
    tensors[f"aspp_modules.{i}.conv.bias"] = bias
  x, classes, dilations = jnp.asarray(case.x), case.b.shape[1], case.dilations.tolist()
  assert_close(run(x, tensors, classes, dilations[:2])[0], case.y_reference, 1e-5, 1e-6)
  assert_close(run(x, tensors, classes, dilations)[0], case.y_all_branches, 1e-5, 1e-6)


def test_weights_start_normal_and_biases_uniform():
  params = dlv2.DLV2Head(num_classes=200, dilations=(6,)).init(
    jax.random.key(0), [jnp.zeros((1, 2, 2, 16))], **MODE
  )["params"]["aspp_modules_0"]["conv"]
  bound = 1 / 12  # 1 / sqrt(9 * 16)
  assert -bound < params["bias"].min() < -0.9 * bound
  assert 0.9 * bound < params["bias"].max() < bound
  assert abs(params["kernel"].std() - 0.01) < 0.0005


def test_every_branch_contributes():
  x = jax.random.normal(jax.random.key(0), (1, 30, 30, 2))
  head = dlv2.DLV2Head(num_classes=2)
  variables = head.init(jax.random.key(1), [x], **MODE)
  gradient = jax.grad(lambda v: jnp.sum(head.apply(v, [x], **MODE)[0] ** 2))(variables)
  assert len(jax.tree.leaves(gradient)) == 8
  assert all(leaf.any() for leaf in jax.tree.leaves(gradient))
