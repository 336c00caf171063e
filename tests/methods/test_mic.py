"""MIC on HRDA through the real train step against recorded steps of the reference implementation."""

import functools

import golden_cases
import golden_models
import golden_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden

from jax_uda import methods, models
from jax_uda.models import weights
from jax_uda.step import state, teacher, train_step
from jax_uda.step.context import View
from jax_uda.step.method import Task, ViewMaker

CASES = golden("base/mic_hrda_steps")
BOXES = ("source", "mixed", "masked")  # in the order of the file


def network(case: Case) -> models.Segmentor:
  sizes = {name: tuple(case[name].tolist()) for name in ("embed_dims", "num_heads", "depths")}
  width = {"embed_dim": int(case.head_embed), "channels": int(case.head_embed), "dropout": 0.0}
  boxes = case.parts("s")[0].draw_crop_boxes
  model = models.build(
    encoder="mit_b0",
    decoder="daformer",
    num_classes=int(case.num_classes),
    encoder_options={**sizes, "mlp_ratio": int(case.mlp_ratio), "drop_path": 0.0},
    decoder_options=width,
    hrda={
      "crop_size": (int(boxes[0, 1] - boxes[0, 0]), int(boxes[0, 3] - boxes[0, 2])),
      "attention_options": width,
    },
  )
  return golden_models.with_statistics(model, case)


def recipe(case: Case) -> methods.Method:
  """The method, replaying the draws and the detail crops of the batch."""
  method = methods.build(
    Task(int(case.num_classes), mean_color=tuple((case.mean / 255).tolist())),
    name="mic",
    self_training=dict(pseudo_threshold=float(case.pseudo_threshold)),
    feature_distance_weight=float(case.fd_lambda),
    thing_classes=tuple(case.thing_classes.tolist()),
    masked=dict(ratio=float(case.mic_mask_ratio), block=int(case.mic_block)),
  )

  def place_crops(draws, batch, teacher, views):
    boxes = zip(BOXES, batch["boxes"], strict=True)
    return {name: views[name].replace(inputs={"crop_box": box}) for name, box in boxes}

  method = golden_steps.replayed(method)
  return method._replace(views={**method.views, "crops": ViewMaker(place_crops)})


def recorded_batch(part: Case) -> dict:
  masked = {
    "augmentation": golden_steps.strong_draws(part, "mic", gates="mic_"),
    "mask": jnp.asarray(part.draw_mic_mask_uniform[..., 0]),
  }
  return {
    "source": {"image": part.src_img_u8, "label": part.src_label},
    "target": {"image": part.tgt_img_u8, "valid": part.valid_pseudo_mask},
    "draws": {"self_training": golden_steps.recorded_draws(part), "masked": masked},
    "boxes": jnp.asarray(part.draw_crop_boxes, jnp.int32),
  }


@functools.cache
def run(name: str):
  case = golden_cases.load(golden_cases.ROOT / f"{name}.npz")
  model, method = network(case), recipe(case)
  _, tx = golden_steps.recipe_optimizer(case)
  now = state.from_variables(
    golden_models.initial_variables(case, model), method, tx, jax.random.key(0)
  )
  rule = teacher.Rule(float(case.alpha))
  step = jax.jit(
    train_step.make_train_step(model, method, tx, teacher_rule=rule),
    compiler_options=golden_steps.OPTIMIZED,
  )
  states, metrics = [now], []
  for part in case.parts("s"):
    now, found = step(now, recorded_batch(part))
    states.append(now)
    metrics.append(found)
  return case, states, metrics


@pytest.mark.parametrize("case", CASES)
def test_losses_match_reference(case: Case):
  case, _, metrics = run(case.name)
  for part, found in zip(case.parts("s"), metrics, strict=True):
    for ours, theirs in (("source", ""), ("mixed", "mix."), ("masked", "masked.")):
      total = sum(part[f"log/{theirs}decode.{kind}loss_seg"] for kind in ("", "hr."))
      np.testing.assert_allclose(found[f"loss/{ours}"], total, rtol=1e-3, err_msg=ours)
    distance = np.nan_to_num(part["log/src.loss_imnet_feat_dist"])
    np.testing.assert_allclose(found["loss/feature_distance"], distance, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_networks_match_reference(case: Case):
  case, states, _ = run(case.name)
  for network in ("student", "teacher"):
    variables = getattr(states[-1], network)
    np.testing.assert_allclose(
      golden_models.flat_params(case, variables), case[f"{network}_wN_flat"], atol=2e-4
    )
    np.testing.assert_allclose(
      golden_models.flat_statistics(case, variables),
      case[f"{network}_bn_statsN_flat"],
      rtol=1e-3,
      atol=2e-4,
    )
  for after, norms in zip(states[1:], case.student_param_norms_after_step, strict=True):
    by_name = weights.to_torch({"params": after.student["params"]})
    found = [np.linalg.norm(by_name[str(name)]) for name in case.param_names]
    np.testing.assert_allclose(found, norms, rtol=1e-4, atol=2e-4)


def masked_view(domains: str) -> View:
  """The masked view of four images: source images are 1, target images 2."""
  method = methods.build(
    Task(3, (0.5, 0.3, 0.2), mean_color=(0.0, 0.0, 0.0)),
    name="dacs",
    also={"masked": {"domains": domains, "augmentation": False, "block": 4, "ratio": 0.5}},
  )
  batch = {
    "source": {"image": jnp.full((4, 8, 8, 3), 1.0), "label": jnp.zeros((4, 8, 8), int)},
    "target": {"image": jnp.full((4, 8, 8, 3), 2.0)},
  }
  teacher = lambda name, image: models.segmentor.Outputs(
    jnp.zeros((4, 2, 2, 3)).at[..., 1].set(9), (), None, {}
  )
  return method.make_views(method.draw(jax.random.key(0), batch), batch, teacher)["masked"]


def test_half_of_a_masked_batch_of_both_domains_is_source_with_its_labels():
  view = masked_view("both")
  assert [set(np.unique(image).tolist()) for image in view.image] == [{0, 1}] * 2 + [{0, 2}] * 2
  assert [int(label[0, 0]) for label in view.label] == [0, 0, 1, 1]


def test_masking_names_the_view_that_a_method_lacks():
  method = methods.build(Task(3), name="source_only", also={"masked": {}})
  batch = {"source": {"image": jnp.zeros((1, 8, 8, 3)), "label": jnp.zeros((1, 8, 8), int)}}
  with pytest.raises(ValueError, match="masked needs the view target"):
    method.make_views(method.draw(jax.random.key(0), batch), batch, None)
