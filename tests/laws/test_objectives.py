"""What every objective must keep; a new one joins `CASES` and gets these tests."""

import functools
import inspect
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import losses, objectives
from jax_uda.common import mesh as mesh_lib
from jax_uda.objectives import Objective
from jax_uda.ops import arrays
from jax_uda.step.context import Context, Passes, View
from jax_uda.step.objective import add_terms, draw_terms, init_terms
from jax_uda.step.outputs import Outputs

CLASSES, DIM = 4, 6
SOURCE, TARGET = {"view": "source"}, {"view": "target"}
LEVELS = ("projection", "projection")
SHAPE = dict(num_classes=CLASSES, dim=DIM)


class Case(NamedTuple):
  """An objective and what it needs.

  Attributes:
    objective: A term over the views and heads below.
    empty: Ways of having no valid pixels: "labels" (all are 255) and "weights" (all are 0).
  """

  objective: Objective
  empty: Sequence[str] = ("labels", "weights")


def cross_entropy(**options):
  return objectives.cross_entropy(**SOURCE | options)


def class_contrast(**options):
  common = dict(views=("source", "target"), statistics_view="source", min_ratio=0.5)
  return objectives.class_contrast(**SHAPE, **common, **options)


def with_prototypes(**comparisons):
  views = dict(view="mixed", warmup_view="mixed", warmup_end=0)
  return objectives.cam_prototypes(**SHAPE, **views, comparisons=comparisons)


def summed(*names):
  """Several objectives as one, as the train step adds them."""
  terms = {name.split(" ")[0]: CASES[name].objective for name in names}
  return Objective(
    init=lambda key: init_terms(terms, key),
    apply=lambda state, ctx, draws: add_terms(terms, state, ctx, draws),
    draw=lambda key, batch: draw_terms(terms, key, batch),
  )


CASES = {
  "cross_entropy": Case(cross_entropy()),
  "cross_entropy of weighted classes": Case(
    cross_entropy(view="mixed", class_weights=jnp.array([1.0, 2.0, 0.5, 1.0]))
  ),
  "cross_entropy of groups": Case(cross_entropy(denominator="valid", groups=4)),
  # This and the rest with "labels" alone count pixels whatever their weight.
  "feature_distance": Case(
    objectives.feature_distance(num_classes=CLASSES, thing_classes=(1, 2), **SOURCE), ("labels",)
  ),
  # No cell is left out.
  "foundation_distance": Case(
    objectives.foundation_distance(view="source", reference_view="source", head="cam"), ()
  ),
  "class_contrast with prototypes": Case(class_contrast(variant="prototype", regularizer_sign=-1)),
  "class_contrast with distributions": Case(class_contrast(regularizer_weight=0.0)),
  "class_contrast with banks": Case(class_contrast(variant="bank", bank_length=3)),
  "pixel_contrast": Case(
    objectives.pixel_contrast(grid=(5, 5), ignore_is_class=False, **SOURCE), ("labels",)
  ),
  # With 255 as a class, as published, labels cannot be missing.
  "pixel_contrast of weighted pixels": Case(
    objectives.pixel_contrast(grid=(5, 5), weighted=True, **TARGET), ("weights",)
  ),
  "pixel_loss": Case(
    objectives.pixel_loss(
      functools.partial(losses.pixel_contrast, ignore_is_class=False),
      head="projection",
      grid=(3, 3),
      **SOURCE,
    )
  ),
  # Its labels in the box are the teacher's; the weights are the box.
  "region_consistency": Case(
    objectives.region_consistency(
      view="mixed",
      source="source",
      target="target",
      head="projection",
      dim=DIM,
      num_rows=24,
      num_entries=2,
      cell=4,
      positive_threshold=0.4,
      first_rows=40,
      weight=1.0,
      ramp_steps=10,
    ),
    ("weights",),
  ),
  "similarity_contrast": Case(objectives.similarity_contrast(**SHAPE, groups=2)),
  # To hold no class is a label too: there is no image without a loss.
  "image_classes": Case(objectives.image_classes(**SOURCE), ()),
  "cam_prototypes and prototype_contrast": Case(
    with_prototypes(
      sampled=objectives.prototype_contrast(**SOURCE, num_samples=40, regularizer_sign=-1),
      weighed=objectives.prototype_contrast(**TARGET, regularizer_sign=-1, weigh=True),
    ),
    ("labels",),
  ),
  # Looks at all pixels: without labels there are no prototypes to be consistent with.
  "cam_prototypes and translation_consistency": Case(
    with_prototypes(
      consistent=objectives.translation_consistency(
        view="source",
        translated_view="translated",
        translate=lambda params, image: jnp.tanh(image @ params["translator"]),
        regress=lambda params, embedding: embedding @ params["regressor"],
      )
    ),
    ("labels",),
  ),
  # The level is there twice, with a sampled and a whole contrast.
  "level_prototypes and level_contrast and level_consistency": Case(
    objectives.level_prototypes(
      **SHAPE,
      source_view="source",
      mixed_view="mixed",
      warmup_end=-1,
      heads=LEVELS,
      cam_heads=("cam", "cam"),
      comparisons=dict(
        sampled=objectives.level_contrast(
          **SOURCE,
          start_step=0,
          heads=LEVELS,
          num_classes=CLASSES,
          fraction=0.3,
          regularizer_sign=-1,
        ),
        whole=objectives.level_contrast(
          **TARGET, start_step=0, heads=LEVELS, num_classes=CLASSES, regularizer_sign=-1
        ),
        consistent=objectives.level_consistency(
          view="source",
          translated_view="translated",
          start_step=0,
          heads=LEVELS,
          translate=lambda params, image: jnp.tanh(image @ params["translator"]),
          regress=lambda params, level, embedding: embedding @ params["regressor"],
        ),
      ),
    ),
    (),
  ),
  # Domains are all the labels that it has.
  "output_adversarial": Case(
    objectives.output_adversarial(
      discriminator=lambda params, probability: probability @ params["discriminator"],
      weight=0.1,
      source_temperature=1.8,
    ),
    (),
  ),
}
CASES |= {
  "output_adversarial of least squares": Case(
    objectives.output_adversarial(
      discriminator=lambda params, probability: probability @ params["discriminator"],
      least_squares=True,
      scale=0.5,
      align_corners=False,
    ),
    (),
  ),
  "entropy": Case(objectives.entropy(weight=0.1), ("weights",)),
  "entropy of half the size": Case(objectives.entropy(scale=0.5), ("weights",)),
}
CASES["sum"] = Case(
  summed("cross_entropy", "similarity_contrast", "cam_prototypes and translation_consistency"),
  ("labels",),
)
CASES["stateless"] = Case(
  objectives.stateless(lambda ctx: (jnp.mean(ctx.student("source").logits ** 2), {})), ()
)


def apply(variables, image, name):
  """A network of two matrices: features at stride 4, logits from them."""
  del name
  pooled = image.reshape(*image.shape[:1], 4, 4, 4, 4, 3).mean((2, 4))
  features = jnp.tanh(pooled @ variables["params"]["encoder"])
  logits = features @ variables["params"]["decoder"]
  heads = {"projection": arrays.l2_normalize(features), "cam": logits}
  return Outputs(logits, (features,), features, heads), None


# From NumPy: compiling JAX's random numbers takes longer than all that is tested here.
def normal(seed: int, **shapes: tuple[int, ...]):
  rng = np.random.default_rng(seed)
  return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def uniform(seed: int, *shape: int):
  return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def toy_variables(seed: int = 1):
  return {"params": normal(seed, encoder=(3, DIM), decoder=(DIM, CLASSES))}


def toy_auxiliary():
  return normal(3, translator=(3, 3), regressor=(DIM, DIM), discriminator=(CLASSES, 1))


def toy_views(empty: str = ""):
  """Three views; without "labels" or "weights", or with both."""

  def view(seed):
    cells = np.random.default_rng(seed).integers(0, CLASSES, (8, 4, 4))
    label = jnp.asarray(np.kron(cells, np.ones((1, 4, 4), int)), jnp.int32)
    weight = uniform(seed + 20, 8, 16, 16)
    return View(
      normal(seed + 10, image=(8, 16, 16, 3))["image"],
      jnp.full_like(label, 255) if empty == "labels" else label,
      jnp.zeros_like(weight) if empty == "weights" else weight,
    )

  views = {name: view(seed) for seed, name in enumerate(("source", "target", "mixed"))}
  return views | {"translated": views["source"]}


def evaluate(case: Case, state, params, views, auxiliary=None):
  frozen = jax.lax.stop_gradient(toy_variables(seed=2))
  batch = {"source": {"image": views["source"].image, "label": views["source"].label}}
  ctx = Context(
    views=views,
    step=jnp.int32(10),
    student=Passes(apply, {"params": params}),
    teacher=Passes(apply, frozen),
    reference=lambda image: (apply(frozen, image, "")[0].features[0] + 0.1,),
    foundation=lambda image: jnp.tanh(image[:, ::8, ::8, :1] + jnp.arange(CLASSES)),
    auxiliary=auxiliary,
  )
  draws = case.objective.draw(jax.random.key(5), batch)
  return case.objective.apply(state, ctx, draws)


@functools.cache
def program(name: str):
  """`(state, views) -> (result, gradients)`, compiled once for each placement of the views."""
  params, auxiliary = toy_variables()["params"], toy_auxiliary()

  def loss(params, auxiliary, state, views):
    result = evaluate(CASES[name], state, params, views, auxiliary)
    return result.loss, result

  def run(state, views):
    grads, result = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, auxiliary, state, views)
    return result, grads

  return jax.jit(run)


def initial(name: str):
  return jax.jit(CASES[name].objective.init)(jax.random.key(0))


def specs(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def finite(tree) -> bool:
  return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_every_objective_of_the_package_has_a_case():
  functions = {name for name, value in vars(objectives).items() if inspect.isfunction(value)}
  named = {word for case in CASES for word in case.split(" ")}
  assert functions - {"prototype_pass"} <= named


@pytest.mark.parametrize("name", CASES)
def test_state_keeps_its_structure_and_the_loss_is_a_finite_float32(name):
  state = initial(name)
  for _ in range(2):  # from an empty memory, then from a filled one
    result, grads = program(name)(state, toy_views())
    assert specs(state) == specs(result.state)
    assert result.loss.dtype == jnp.float32 and result.loss.shape == ()
    assert result.loss > 0 and finite((result, grads))
    assert any(leaf.any() for leaf in jax.tree.leaves(grads))
    assert all(jnp.shape(value) == () for value in result.metrics.values())
    state = result.state


@pytest.mark.parametrize("name", CASES)
def test_without_valid_pixels_value_and_gradient_are_exactly_zero(name):
  for empty in CASES[name].empty:
    result, grads = program(name)(initial(name), toy_views(empty))
    assert result.loss == 0 and finite(result)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", CASES)
def test_eight_devices_equal_one(name):
  mesh = mesh_lib.data_mesh()
  assert mesh.size == 8
  one = program(name)(initial(name), toy_views())
  split = jax.device_put(toy_views(), mesh_lib.split_batch(mesh))
  eight = program(name)(jax.device_put(initial(name), mesh_lib.replicated(mesh)), split)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  jax.tree.map(close, one, eight)


def test_the_sum_of_terms_names_their_metrics():
  terms = {name: CASES[name] for name in ("cross_entropy", "feature_distance")}
  params, views = toy_variables()["params"], toy_views()
  states = {"sum": dict.fromkeys(terms, ()), **dict.fromkeys(terms, ())}
  cases = {"sum": Case(summed(*terms)), **terms}
  run = jax.jit(lambda views: {k: evaluate(cases[k], states[k], params, views) for k in cases})
  results = run(views)
  result = results.pop("sum")
  parts = {name: term.loss for name, term in results.items()}
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
  ctx = Context(views=toy_views(), step=jnp.int32(0), student=None, teacher=None)
  with pytest.raises(ValueError, match="uses_reference"):
    ctx.reference("source")
