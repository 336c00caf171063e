"""What every objective must keep; a new one joins `OBJECTIVES` and gets these tests."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import mesh as mesh_lib
from jax_uda import objectives
from jax_uda.context import Context, Passes, View
from jax_uda.outputs import Outputs

CLASSES, DIM = 4, 6
OBJECTIVES = {
  "cross_entropy": objectives.cross_entropy(view="source"),
  "class_weighted_cross_entropy": objectives.cross_entropy(
    view="mixed", class_weights=jnp.array([1.0, 2.0, 0.5, 1.0])
  ),
  "feature_distance": objectives.feature_distance(
    view="source", num_classes=CLASSES, thing_classes=(1, 2)
  ),
  "similarity_contrast": objectives.similarity_contrast(num_classes=CLASSES, dim=DIM, groups=2),
  "cross_entropy_of_groups": objectives.cross_entropy(view="source", denominator="valid", groups=4),
  "cam_prototypes": objectives.cam_prototypes(
    view="mixed",
    warmup_view="mixed",
    warmup_end=0,
    num_classes=CLASSES,
    dim=DIM,
    terms={
      "sampled": objectives.prototype_contrast(view="source", num_samples=40, regularizer_sign=-1),
      "weighed": objectives.prototype_contrast(view="target", regularizer_sign=-1, weigh=True),
    },
  ),
}
OBJECTIVES["chain"] = objectives.chain(**OBJECTIVES)


def apply(variables, image, name):
  """A network of two matrices: features at stride 4, logits from them."""
  del name
  pooled = image.reshape(*image.shape[:1], 4, 4, 4, 4, 3).mean((2, 4))
  features = jnp.tanh(pooled @ variables["params"]["encoder"])
  logits = features @ variables["params"]["decoder"]
  return Outputs(logits, (features,), features, {"projection": features, "cam": logits}), None


def toy_variables():
  keys = jax.random.split(jax.random.key(1), 2)
  return {
    "params": {
      "encoder": jax.random.normal(keys[0], (3, DIM)),
      "decoder": jax.random.normal(keys[1], (DIM, CLASSES)),
    }
  }


def toy_views(empty: bool = False):
  def view(seed):
    image_key, label_key, weight_key = jax.random.split(jax.random.key(seed), 3)
    cells = jax.random.randint(label_key, (8, 4, 4), 0, CLASSES)
    label = jnp.repeat(jnp.repeat(cells, 4, 1), 4, 2)
    return View(
      jax.random.normal(image_key, (8, 16, 16, 3)),
      jnp.full_like(label, 255) if empty else label,
      jax.random.uniform(weight_key, (8, 16, 16)),
    )

  return {name: view(seed) for seed, name in enumerate(("source", "target", "mixed"))}


def evaluate(objective, state, params, views):
  variables = {"params": params}
  frozen = jax.lax.stop_gradient(toy_variables())
  ctx = Context(
    views=views,
    step=jnp.int32(10),
    key=jax.random.key(5),
    draws=types.SimpleNamespace(rows={name: view.weight for name, view in views.items()}),
    student=Passes(apply, variables),
    teacher=Passes(apply, frozen),
    reference=lambda image: (apply(frozen, image, "")[0].features[0] + 0.1,),
  )
  return objective.apply(state, ctx)


def value_and_grad(objective, views):
  state = objective.init(jax.random.key(0))

  @jax.jit
  def run(params, views):
    loss = lambda params: evaluate(objective, state, params, views).loss
    return jax.value_and_grad(loss)(params)

  return run(toy_variables()["params"], views)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_state_keeps_its_structure_and_the_loss_is_a_finite_float32(name):
  objective = OBJECTIVES[name]
  state = objective.init(jax.random.key(0))
  run = jax.jit(lambda s: evaluate(objective, s, toy_variables()["params"], toy_views()))
  result = run(state)
  spec = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert spec(state) == spec(result.state)
  assert jnp.isfinite(result.loss) and result.loss > 0
  assert result.loss.dtype == jnp.float32 and result.loss.shape == ()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_valid_pixels_value_and_gradient_are_exactly_zero(name):
  value, grads = value_and_grad(OBJECTIVES[name], toy_views(empty=True))
  assert value == 0
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_eight_devices_equal_one(name):
  mesh = mesh_lib.data_mesh()
  assert mesh.size == 8
  one = value_and_grad(OBJECTIVES[name], toy_views())
  eight = value_and_grad(OBJECTIVES[name], jax.device_put(toy_views(), mesh_lib.split_batch(mesh)))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  jax.tree.map(close, one, eight)


def test_a_chain_adds_its_terms_and_names_their_metrics():
  terms = {name: OBJECTIVES[name] for name in ("cross_entropy", "feature_distance")}
  whole = objectives.chain(**terms)
  params = toy_variables()["params"]
  result = evaluate(whole, whole.init(jax.random.key(0)), params, toy_views())
  parts = {name: evaluate(term, (), params, toy_views()).loss for name, term in terms.items()}
  np.testing.assert_allclose(result.loss, sum(parts.values()), rtol=1e-6)
  for name, loss in parts.items():
    np.testing.assert_allclose(result.metrics[f"loss/{name}"], loss, rtol=1e-6)


def test_a_pass_runs_once_however_many_objectives_ask():
  calls = []

  def counted(variables, image, name):
    calls.append(name)
    return apply(variables, image, name)

  passes = Passes(counted, toy_variables())
  image = toy_views()["source"].image
  assert passes("source", image) is passes("source", image)
  assert calls == ["source"]


def test_asking_for_a_reference_that_is_not_kept_is_an_error():
  ctx = Context(
    views=toy_views(), step=jnp.int32(0), key=jax.random.key(0), student=None, teacher=None
  )
  with pytest.raises(ValueError, match="uses_reference"):
    ctx.reference("source")
