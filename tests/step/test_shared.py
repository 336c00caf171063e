"""A frozen encoder is one copy, without gradient, optimizer state, decay or average of its own."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.adapter_paths import is_adapter
from jax_uda.step import optimizer, shared, teacher
from jax_uda.step.learner import Learner
from jax_uda.step.teacher import Rule

LORA = dict(
  encoder="dinov3_vits16",
  decoder="light",
  encoder_options=dict(embed_dim=8, depth=1, num_heads=2),
  decoder_options=dict(width=8),
  adapter=dict(name="lora", rank=2),
)
METHOD = "daformer"  # compares with the reference network
DECAY = 0.9


def make(network, method=METHOD, **options):
  settings, _ = tiny.METHODS[method]
  return Learner(
    models.build(num_classes=tiny.CLASSES, **network),
    methods.build(tiny.TASK, **settings),
    schedule=lambda step: 1e-2,
    optimizer=functools.partial(optimizer.build, name="sgd", weight_decay=0.01, **options),
    teacher_rule=Rule(DECAY),
    mesh=mesh_lib.data_mesh(1),
  )


@functools.cache
def frozen():
  return make(LORA)


def paths(tree):
  return set(flax.traverse_util.flatten_dict(tree, sep="/"))


def by_path(tree):
  return flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")


def test_a_frozen_encoder_trains_as_one_that_the_optimizer_does_not_touch():
  # The other network has all gradients, moments and averages; its encoder's learning rate is 0.
  untouched = optimizer.Group(r"^encoder/(?!.*/lora_[ab]$)", learning_rate=0.0, weight_decay=0.0)
  whole, parts = make(LORA | {"freeze": ""}, groups=[untouched]), frozen()
  ours, other = parts.init(0, tiny.SIZE), whole.init(0, tiny.SIZE)
  # Move the layer scales, which start near 0 in DINOv3.
  lift = lambda tree: jax.tree.map_with_path(
    lambda path, x: jnp.ones_like(x) if "gamma" in jax.tree_util.keystr(path) else jnp.copy(x), tree
  )
  ours = ours.replace(reference=lift(ours.reference))
  other = other.replace(**{n: lift(getattr(other, n)) for n in ("student", "teacher", "reference")})
  start, average = by_path(ours.variables("student")), ours.variables("teacher")
  assert start.keys() == paths(other.student)
  for step in range(3):
    average = teacher.follow(average, ours.variables("student"), jnp.int32(step), Rule(DECAY))
    average = jax.tree.map(jnp.copy, average)
    ours, metrics = parts.step(ours, tiny.batch_of(step))
    other, expected = whole.step(other, tiny.batch_of(step))
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-5)
    for name, value in by_path(ours.variables("teacher")).items():
      np.testing.assert_allclose(value, by_path(average)[name], atol=1e-6, err_msg=name)
  for network in ("student", "teacher"):
    values, others = by_path(ours.variables(network)), by_path(getattr(other, network))
    for name, value in values.items():
      np.testing.assert_allclose(value, others[name], atol=1e-5, err_msg=name)
  moved = {
    n for n, value in by_path(ours.variables("student")).items() if (value != start[n]).any()
  }
  encoder = {name for name in moved if name.startswith("params/encoder/")}
  assert encoder and all(is_adapter(name.removeprefix("params/")) for name in encoder)
  assert any(name.startswith("params/decoder/") for name in moved)


def test_the_state_holds_the_frozen_encoder_once():
  state = frozen().abstract_state(tiny.SIZE)
  student, reference = paths(state.student["params"]), paths(state.reference["params"])
  assert not student & reference and paths(state.teacher["params"]) == student
  assert all(is_adapter(path) for path in student if path.startswith("encoder/"))
  assert all(path.startswith("encoder/") and not is_adapter(path) for path in reference)
  # The optimizer knows what trains alone.
  trained = {leaf.shape for leaf in jax.tree.leaves(state.student["params"])}
  assert {leaf.shape for leaf in jax.tree.leaves(state.opt_state)} <= trained | {()}


def test_no_gradient_of_frozen_parameters_is_compiled():
  def flops(**network):
    wide = dict(embed_dim=64, depth=2, num_heads=2)
    learner = make(LORA | dict(encoder_options=wide, adapter=None) | network, "source_only")
    state, batch = learner.abstract_state(tiny.SIZE), tiny.batch_of(0)
    return learner.step_of(0).lower(state, batch).cost_analysis()["flops"]

  assert flops(freeze="encoder") < 0.5 * flops(freeze="")


@pytest.mark.parametrize("method", ["hrda_cluda", "sepico_bank", "vfm_uda"])
def test_a_step_of_any_method_keeps_the_structure_of_the_state(method):
  network = tiny.SMALL | tiny.METHODS[method][1] | {"freeze": "encoder"}
  learner = make(network, method)
  before = learner.abstract_state(tiny.SIZE)
  after, _ = learner.step_of(0).eval_shape(before, tiny.batch_of(0))
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert "encoder" not in after.student["params"] and "encoder" in after.reference["params"]


def test_a_frozen_encoder_is_in_evaluation_mode_and_keeps_its_statistics():
  network = dict(encoder="resnet50_v1c", decoder="daformer", num_classes=3, freeze="encoder")
  options = {
    f"{part}_options": models.catalog.tiny(network[part]) for part in ("encoder", "decoder")
  }
  model = models.build(**network, **options)
  image = jax.random.uniform(jax.random.key(0), (2, 33, 33, 3))
  mode = lambda train: dict(train=train, use_running_average=not train)

  @jax.jit
  def run(image):
    trained, rest = shared.split(model.init(jax.random.key(1), image, **mode(False)), "encoder")
    sharing = shared.sharing(model, rest)
    rngs = {"rngs": {"dropout": jax.random.key(2)}, "mutable": ["batch_stats"]}
    training, updated = sharing.apply(trained, image, **mode(True), **rngs)
    return training.features, sharing.apply(trained, image, **mode(False)).features, updated

  training, evaluated, updated = run(image)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), training, evaluated)
  assert set(updated["batch_stats"]) == {"decoder"}


@pytest.mark.fast
def test_what_is_split_merges_again():
  tree = {
    "params": {"encoder": {"a": 1, "b": {"lora_a": 2}}, "decoder": {"c": 3}},
    "batch_stats": {"encoder": {"d": 4}},
  }
  trained, rest = shared.split(tree, "encoder")
  assert trained == {"params": {"encoder": {"b": {"lora_a": 2}}, "decoder": {"c": 3}}}
  assert rest == {"params": {"encoder": {"a": 1}}, "batch_stats": {"encoder": {"d": 4}}}
  assert shared.merge(rest, trained) == tree
  assert shared.split(tree, "") == (tree, {}) and shared.merge(None, tree) == tree
  assert shared.merge({"params": {"encoder": {"a": 9}}}, tree) == tree
