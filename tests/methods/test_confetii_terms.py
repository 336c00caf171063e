"""The terms of CONFETII and the settings of its translator against the reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses, methods, objectives
from jax_uda.common.registry import SettingError
from jax_uda.methods import _one_stage_translator as translator
from jax_uda.models import weights
from jax_uda.models.heads.cam import CAMHead
from jax_uda.models.heads.projection import LevelProjectionHead
from jax_uda.ops.labels import image_classes
from jax_uda.step.context import Context, Passes, View
from jax_uda.step.method import Task
from jax_uda.step.outputs import Outputs

KEY = jax.random.key(0)


def levels_of(case: Case, prefix: str) -> tuple[jax.Array, ...]:
  """The arrays `<prefix>0`, `<prefix>1`, … of the levels in the file."""
  count = sum(name.isdigit() for name in case.group(prefix))
  return tuple(jnp.asarray(case[f"{prefix}{level}"]) for level in range(count))


def heads_of(case: Case, features, prefix: str, name: str, build):
  """Heads by level with the parameters of the file: `(names, modules, params by name)`."""
  modules = {f"{name}_{level}": build(level) for level in range(len(features))}
  shapes_of = lambda head: jax.eval_shape(lambda: head.init(KEY, features)["params"])
  shapes = {"params": {f"heads_{k}": shapes_of(v) for k, v in modules.items()}}
  return modules, weights.from_torch(case.group(prefix), shapes)["params"]


def applied(modules, params, features):
  return {
    name: head.apply({"params": params[f"heads_{name}"]}, features)
    for name, head in modules.items()
  }


def context(label, *, student=None, teacher=None, auxiliary=None):
  """A context whose networks are functions `(variables, image, name) -> heads`."""
  network = lambda heads: (
    lambda variables, image, name: (
      Outputs(None, (), None, heads(variables, image, name)),
      None,
    )
  )
  image = jnp.zeros((*label.shape, 3))
  view = View(image, label, jnp.ones(label.shape))
  return Context(
    views={"view": view},
    step=jnp.int32(9),
    student=Passes(network(student), {}),
    teacher=Passes(network(teacher), {}),
    auxiliary=auxiliary,
    phase=9,
  )


def compare_weights(gradients, recorded: dict[str, np.ndarray]) -> None:
  tensors = weights.to_torch({"params": gradients})
  assert tensors.keys() == recorded.keys()
  for name, expected in recorded.items():
    assert_close(tensors[name], expected, 1e-4, 1e-5)


@pytest.mark.parametrize("case", golden("confetii/soft_contrast"))
def test_contrast_and_regularizer_match_reference(case: Case):
  features, label = levels_of(case, "feat"), jnp.asarray(case.label, jnp.int32)
  num_levels, num_classes, dim = case.prototypes.shape
  build = lambda level: LevelProjectionHead(dim, level)
  modules, params = heads_of(case, features, "w/", "projection", build)
  part = objectives.level_contrast(
    view="view",
    start_step=0,
    heads=tuple(modules),
    num_classes=num_classes,
    temperature=float(case.tau),
    fraction=float(case.sample_fraction),
    weight=float(case.contrast_weight),
    regularizer_weight=float(case.reg_weight),
  )
  draws = []
  for level, feature in enumerate(features if case.sample_fraction < 1 else ()):
    shape = feature.shape[:3]
    rows = np.zeros(np.prod(shape), np.float32)
    rows[case[f"sample_idx{level}"]] = 0.5
    draws.append(jnp.asarray(rows.reshape(shape)))

  def parts(params, features):
    ctx = context(label, student=lambda *_: applied(modules, params, features))
    total, values = part.apply(jnp.asarray(case.prototypes), ctx, tuple(draws))
    return values, (values, total, applied(modules, params, features))

  derived = jax.jit(jax.jacrev(parts, argnums=(0, 1), has_aux=True))
  jacobian, (values, total, maps) = derived(params, features)
  assert num_levels == len(features)
  for level, embedding in enumerate(maps.values()):
    soft = losses.soft_label(label, embedding.shape[1:3], num_classes)
    assert_close(soft, case[f"soft_label{level}"], 1e-4, 1e-5)
    assert_close(losses.l2_normalize(embedding), case[f"v_normed{level}"], 1e-4, 1e-5)
  assert_close(total, case.loss_cl + case.reg_loss, 1e-4, 1e-5)
  for name, loss, suffix in (
    ("contrast", case.loss_cl, "cl"),
    ("regularizer", case.reg_loss, "reg"),
  ):
    assert_close(values[name], loss, 1e-4, 1e-5)
    gradients, by_feature = jacobian[name]
    compare_weights(gradients, case.group(f"grad_w_{suffix}/"))
    for level, gradient in enumerate(by_feature):
      assert_close(gradient, case[f"grad_feat{level}_{suffix}"], 1e-4, 1e-5)


@pytest.mark.parametrize("case", golden("confetii/consistency"))
def test_the_consistency_matches_reference_and_reaches_the_translation_alone(case: Case):
  source, translated = levels_of(case, "feat_src"), levels_of(case, "feat_s2t")
  dim = case.prototypes.shape[-1]
  build = lambda level: LevelProjectionHead(dim, level)
  projections = {k.replace("ema_", ""): v for k, v in case.group("w/").items() if "ema" in k}
  renamed = Case(case.name, projections)
  modules, params = heads_of(renamed, source, "", "projection", build)
  networks = translator.OneStageTranslator(
    translator.OneStage(), num_levels=len(source), embedding_dim=dim, affine_start=0
  )
  affine = {}
  for level, name in enumerate(networks.affines):
    kernel = case[f"w/affine_convs.{level}.weight"].transpose(2, 3, 1, 0)
    affine[name] = {"kernel": kernel, "bias": case[f"w/affine_convs.{level}.bias"]}
  part = objectives.level_consistency(
    view="view",
    translated_view="translated",
    start_step=0,
    heads=tuple(modules),
    translate=lambda params, image: params["translation"],
    regress=networks.regress,
    temperature=float(case.temperature),
    weight=float(case.weight),
  )

  def loss(auxiliary, source, params):
    maps = lambda _, image, name: applied(modules, params, source if name == "view" else image)
    ctx = context(jnp.zeros((2, 4, 4), int), teacher=maps, auxiliary=auxiliary)
    return part.apply(jnp.asarray(case.prototypes), ctx, None)[0]

  auxiliary = {**jax.tree.map(jnp.asarray, affine), "translation": translated}
  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  value, (by_auxiliary, by_source) = grad(auxiliary, source, params)
  assert_close(value, case.loss, 1e-4, 1e-5)
  for level, gradient in enumerate(by_auxiliary["translation"]):
    assert_close(gradient, case[f"grad_feat_s2t{level}"], 1e-4, 1e-5)
    assert not by_source[level].any()
    affine = by_auxiliary[f"affine_{level}"]
    kernel = np.asarray(affine["kernel"]).transpose(3, 2, 0, 1)
    assert_close(kernel, case[f"grad_w/affine_convs.{level}.weight"], 1e-4, 1e-5)
    assert_close(affine["bias"], case[f"grad_w/affine_convs.{level}.bias"], 1e-4, 1e-5)


@pytest.mark.parametrize("case", golden("confetii/cam_head"))
def test_class_activation_maps_match_reference(case: Case):
  features, label = levels_of(case, "feat"), jnp.asarray(case.label)
  num_classes = case.cls_label.shape[-1]
  tensors = {f"auxiliary_head.2.{k}": v for k, v in case.group("w/").items()}
  build = lambda level: CAMHead(num_classes, level, True)
  modules, params = heads_of(Case(case.name, tensors), features, "", "cam", build)
  term = objectives.image_classes(view="view", heads=tuple(modules), weight=float(case.weight))

  def loss(params, features):
    ctx = context(label, student=lambda *_: applied(modules, params, features))
    return term.apply((), ctx, None).loss, applied(modules, params, features)

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (value, maps), (by_weight, by_feature) = grad(params, features)
  assert_close(value, case.loss, 1e-4, 1e-5)
  np.testing.assert_array_equal(image_classes(label, num_classes), case.cls_label)
  for level, cam in enumerate(maps.values()):
    assert_close(jax.nn.relu(cam), case[f"cam_map{level}"], 1e-4, 1e-5)
    assert_close(cam.mean((1, 2)), case[f"scores{level}"], 1e-4, 1e-5)
    assert_close(by_feature[level], case[f"grad_feat{level}"], 1e-4, 1e-5)
  recorded = {f"auxiliary_head.2.{k}": v for k, v in case.group("grad_w/").items()}
  compare_weights(by_weight, recorded)


@pytest.mark.parametrize("case", golden("confetii/drop_mask"))
def test_dropped_cells_match_reference(case: Case):
  for part in case.parts():
    ratio, uniforms = float(case.keep_threshold), jnp.asarray(part.uniform)
    ones = jnp.ones((*part.mask.shape, 1))
    np.testing.assert_array_equal(translator.drop_cells(ones, uniforms, ratio)[..., 0], part.mask)
    if "x" not in part:
      continue
    masked = translator.drop_cells(jnp.asarray(part.x), uniforms, ratio)
    assert_close(masked, part.x_masked, 1e-4, 1e-6)
    restoration = lambda idt, x=part.x: translator.restoration_loss(idt, jnp.asarray(x))
    value, gradient = jax.value_and_grad(restoration)(jnp.asarray(part.idt))
    assert_close(value, part.mse, 1e-4, 1e-6)
    assert_close(gradient, part.grad_idt, 1e-4, 1e-6)


def networks_of(**settings) -> translator.OneStageTranslator:
  return translator.OneStageTranslator(
    translator.OneStage(**settings), num_levels=1, embedding_dim=4, affine_start=0
  )


@pytest.mark.fast
@pytest.mark.parametrize("case", golden("confetii/lr_schedule"))
def test_the_learning_rate_matches_reference(case: Case):
  networks = networks_of(learning_rate=float(case.base_lr), decay_steps=int(case.max_iters))
  rates = [networks.rate(jnp.int32(step)) for step in case.iters]
  np.testing.assert_allclose(rates, case.lr, rtol=1e-6, atol=1e-12)
  assert networks.rate(jnp.int32(case.max_iters + 5)) == 0


@pytest.mark.parametrize("case", golden("confetii/amp_double_unscale"))
def test_dividing_by_the_loss_scale_twice_is_a_larger_epsilon(case: Case):
  assert case.effective_eps == pytest.approx(case.eps * case.scale)
  # `decay_steps` so long that the rate is constant.
  common = dict(learning_rate=float(case.lr), decay_steps=10**9)
  common |= dict(weight_decay=float(case.weight_decay))
  tx, _ = networks_of(**common, generator_eps=float(case.effective_eps)).optimizers["generator"]
  now, state = jnp.asarray(case.generator0), tx.init(jnp.asarray(case.generator0))
  for gradient, expected in zip(case.grad_generator, case.generator, strict=True):
    updates, state = tx.update(jnp.asarray(gradient), state, now)
    now = optax.apply_updates(now, updates)
    assert_close(now, expected, 1e-5, 1e-5)


@pytest.mark.fast
@pytest.mark.parametrize(
  "settings, message",
  [
    (dict(levels=()), r"method\.levels = \(\) must name encoder maps"),
    (dict(levels=(1, 1)), r"method\.levels = \(1, 1\) must name encoder maps, each once"),
    (dict(contrast=dict(fraction=0.0)), r"method\.contrast\.fraction = 0\.0 must be above 0"),
    (dict(contrast=dict(weigth=1.0)), r"method\.contrast has no field 'weigth'\. Did you mean"),
    (dict(prototypes=dict(topk=3)), r"method\.prototypes has no field 'topk'\. Did you mean"),
    (dict(jitter="kornia"), "method.jitter = 'kornia' is unknown"),
    (dict(translator=dict(drop_ratio=1.0)), r"method\.translator\.drop_ratio = 1\.0 must be"),
    (dict(translator=dict(generator=dict(wdth=4))), r"method\.translator\.generator has no field"),
  ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
  with pytest.raises(SettingError, match=message):
    methods.build(Task(19), name="confetii", **settings)


@pytest.mark.fast
def test_a_level_that_the_encoder_does_not_have_is_refused():
  head = LevelProjectionHead(4, level=3)
  with pytest.raises(ValueError, match="level = 3, but the encoder has 2 maps"):
    head.init(KEY, (jnp.zeros((1, 4, 4, 3)),) * 2)
