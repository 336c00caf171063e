"""The one train step against three recorded steps of the reference implementation."""

import functools

import golden_cases
import golden_models
import golden_steps
import jax
import numpy as np
import pytest
from golden_cases import golden
from golden_steps import recorded_draws

from jax_uda import methods
from jax_uda.models import weights
from jax_uda.ops import pixels
from jax_uda.step import state, teacher, train_step
from jax_uda.step.method import Task, with_unit_images


def build(case: golden_cases.Case):
  """Model, method with recorded draws, optimizer and schedule of the file's recipe."""
  task = Task(int(case.num_classes))
  method = methods.build(
    task,
    name="daformer",
    self_training=dict(
      pseudo_threshold=float(case.pseudo_threshold),
      ignore_top=int(case.ignore_top),
      ignore_bottom=int(case.ignore_bottom),
    ),
    feature_distance_weight=float(case.fd_lambda),
    thing_classes=tuple(case.thing_classes.tolist()),
  )
  method = golden_steps.replayed(method)
  schedule, tx = golden_steps.recipe_optimizer(case)
  model = golden_models.with_statistics(golden_models.tiny_daformer(case), case)
  return model, method, tx, schedule


@functools.cache
def run(case_name: str):
  """The states before and after each step, and its metrics."""
  case = golden_cases.load(golden_cases.ROOT / f"{case_name}.npz")
  model, method, tx, schedule = build(case)
  variables = golden_models.initial_variables(case, model)
  first = state.from_variables(variables, method, tx, jax.random.key(0))
  # On purpose wrong: step 0 must overwrite the teacher.
  first = first.replace(
    teacher={**first.teacher, "params": jax.tree.map(lambda p: p + 1, first.teacher["params"])}
  )
  step = jax.jit(
    train_step.make_train_step(model, method, tx, teacher_rule=teacher.Rule(float(case.alpha))),
    compiler_options=golden_steps.OPTIMIZED,
  )
  states, metrics = [first], []
  for part in case.parts("s"):
    batch = {
      "source": {"image": part.src_img_u8, "label": part.src_label},
      "target": {"image": part.tgt_img_u8},
      "draws": {"self_training": recorded_draws(part)},
    }
    after, found = step(states[-1], batch)
    states.append(after)
    metrics.append(found)
  return case, method, model, schedule, states, metrics


@pytest.mark.parametrize("case", golden("base/dacs_steps"))
def test_losses_and_learning_rates_match_reference(case: golden_cases.Case):
  case, _, _, schedule, _, metrics = run(case.name)
  for step, (part, found) in enumerate(zip(case.parts("s"), metrics, strict=True)):
    expected = {
      "loss/source": part["log/decode.loss_seg"],
      "loss/mixed": part["log/mix.decode.loss_seg"],
      "loss/feature_distance": np.nan_to_num(part["log/src.loss_imnet_feat_dist"]),
    }
    for name, value in expected.items():
      np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(schedule(step), part.lr_backbone_head[0], rtol=1e-6)


@pytest.mark.parametrize("case", golden("base/dacs_steps"))
def test_parameters_teacher_and_statistics_match_reference(case: golden_cases.Case):
  case, _, _, _, states, _ = run(case.name)
  last = states[-1]
  for network, variables in (("student", last.student), ("teacher", last.teacher)):
    np.testing.assert_allclose(
      golden_models.flat_params(case, variables), case[f"{network}_wN_flat"], atol=2e-4
    )
    np.testing.assert_allclose(
      golden_models.flat_statistics(case, variables),
      case[f"{network}_bn_statsN_flat"],
      rtol=1e-3,
      atol=2e-4,
    )
  for network, expected in (
    ("student", case.student_param_norms_after_step),
    ("teacher", case.teacher_param_norms_during_step),
  ):
    for after, norms in zip(states[1:], expected, strict=True):
      by_name = weights.to_torch({"params": getattr(after, network)["params"]})
      found = [np.linalg.norm(by_name[str(name)]) for name in case.param_names]
      np.testing.assert_allclose(found, norms, rtol=1e-4, atol=2e-4, err_msg=network)


@pytest.mark.parametrize("case", golden("base/dacs_steps"))
def test_views_match_reference(case: golden_cases.Case):
  case, method, model, _, states, _ = run(case.name)
  views_of = jax.jit(
    lambda variables, draws, batch: method.make_views(
      {"self_training": draws},
      batch,
      train_step.Passes(train_step.teacher_network(model, {}), variables),
    ),
    compiler_options=golden_steps.OPTIMIZED,
  )
  for step, part in enumerate(case.parts("s")):
    # The teacher of this step is in the next state; its statistics before the pass do not matter.
    batch = {
      "source": {"image": part.src_img_u8, "label": part.src_label},
      "target": {"image": part.tgt_img_u8},
    }
    batch = with_unit_images(batch)
    views = views_of(states[step + 1].teacher, recorded_draws(part), batch)
    agree = np.mean(views["target"].label == part.pseudo_label)
    assert agree >= 0.999
    number = part.pseudo_label.size
    q = np.max(views["target"].weight)
    assert abs(q - part.q) * number <= 3.01
    same = views["mixed"].label == part.mixed_label
    assert np.mean(same) >= 0.999
    np.testing.assert_allclose(views["mixed"].weight, part.mixed_weight, atol=3.01 / number)
    mixed = pixels.standardise(views["mixed"].image, model.image_mean, model.image_std)
    np.testing.assert_allclose(mixed[:, ::4, ::4], part.mixed_img_sub4, atol=1e-3)


@pytest.mark.parametrize("case", golden("base/dacs_steps"))
def test_first_gradient_matches_reference(case: golden_cases.Case):
  case, *_, states, _ = run(case.name)
  part = case.parts("s")[0]
  grads = part.group("grad/")
  before = weights.to_torch({"params": states[0].student["params"]})
  after = weights.to_torch({"params": states[1].student["params"]})
  backbone, head = part.lr_backbone_head
  for name, grad in grads.items():
    # One SGD step from zero momentum: the change is -lr * (gradient + decay * parameter).
    rate = head if "head" in name else backbone
    decay = 0.0 if "norm" in name and "head" not in name else float(case.sgd_weight_decay)
    found = (before[name] - after[name]) / rate - decay * before[name]
    scale = np.abs(grad).max()
    rounding = np.abs(before[name]).max() * 1e-7 / rate  # of the difference of two parameters
    np.testing.assert_allclose(found, grad, atol=2e-3 * scale + rounding, err_msg=name)
