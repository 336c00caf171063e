"""What a method makes of some validation images, as arrays for pictures."""

from typing import Any

import jax
import numpy as np

from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import rescale
from jax_uda.models.hrda.network import HRDA
from jax_uda.run import experiment
from jax_uda.step import train_step
from jax_uda.step.context import Context, Passes, View, named_key
from jax_uda.step.method import with_unit_images
from jax_uda.step.state import TrainState
from jax_uda.views import self_training

VIEW_IMAGES = 2  # of each view, in views.png
BOX_COLOUR = (255, 0, 255)  # of no class
Boxes = dict[str, np.ndarray]  # by view, [B,4] int32 (y1, y2, x1, x2)


def pick(images: Any, number: int) -> list[dict[str, np.ndarray]]:
  """`number` examples spread over the set, their labels at the size of the images."""
  return [
    {"image": image, "label": rescale.resize_label(label, image.shape[:2])}
    for image, label in (
      (images[int(i)]["image"], images[int(i)]["label"])
      for i in np.linspace(0, len(images) - 1, number).round()
    )
  ]


def validation_batch(exp: experiment.Experiment) -> tuple[dict[str, Any], np.ndarray]:
  """A batch as the method gets it, of `config.panel_images` validation images a domain.

  Returns:
    The batch, without labels of the target; and those labels [B,H,W].
  """
  number = min(
    max(exp.config.panel_images, 1), len(exp.domains.source_val), len(exp.domains.target_val)
  )
  source, target = pick(exp.domains.source_val, number), pick(exp.domains.target_val, number)
  # Images of different sizes are cut to what they share, in whole strides of the networks.
  shapes = np.array([row["label"].shape for row in (*source, *target)])
  height, width = (int(n) // 32 * 32 or int(n) for n in shapes.min(0))
  if (shapes == shapes[0]).all():
    height, width = shapes[0]
  stack = lambda rows, name: np.stack([row[name][:height, :width] for row in rows])
  batch = {
    "source": {"image": stack(source, "image"), "label": stack(source, "label")},
    "target": {"image": stack(target, "image")},
  }
  if "day_image" in exp.domains.target_train.fields:  # validation images have none
    batch["target"]["day_image"] = batch["target"]["image"]
  if exp.config.data.pseudo_labels:  # nor labels from files
    batch["target"]["label"] = np.full_like(batch["target"]["image"][..., 0], IGNORE)
  return batch, stack(target, "label")


def views_of(
  exp: experiment.Experiment, state: TrainState, batch: Any
) -> tuple[dict[str, View], Boxes]:
  """The method's views of `batch` as a training step would build them, and HRDA's detail crops.

  Where a second player changes the source images, `given` are those as they were. A method without
  a source view, which trains its second player alone, shows what that makes of it.
  """
  phase_start = exp.method.phase_start(int(state.step))
  order = []  # of the views: what jit returns is sorted by name

  @jax.jit
  def build(state: TrainState, batch: Any) -> tuple[dict[str, View], dict[str, jax.Array]]:
    key = jax.random.fold_in(state.key, state.step)
    batch = with_unit_images(batch)
    teacher = Passes(train_step.teacher_pass(exp.model, exp.method.teacher_parts), state.teacher)
    play = state.player["params"] if exp.player else None
    seen = exp.player.prepare(play, batch) if exp.player else batch
    draws = exp.method.draw(named_key(key, "draws"), batch)
    views = exp.method.views(draws, seen, teacher)
    boxes = {}
    if isinstance(exp.model, HRDA):
      boxes = _detail_crops(exp, state, views, draws, key, phase_start)
    views = {"source": self_training.source_view(seen)} | views
    if exp.player:
      views = {"given": self_training.source_view(batch)} | views
    order.extend(views)
    return views, boxes

  views, boxes = jax.device_get(build(state, batch))
  return {name: views[name] for name in order}, boxes


def _detail_crops(exp, state, views, draws, key, phase_start) -> dict[str, jax.Array]:
  """The crops of the student's passes in this step, with the teacher in the student's place."""
  found = {}
  run = train_step.student_pass(exp.model, key, exp.method.calls(phase_start))

  def apply(variables, image, name, **inputs):
    outputs, statistics = run(variables, image, name, **inputs)
    if "hr_box" in outputs.heads:
      found[name] = outputs.heads["hr_box"]
    return outputs, statistics

  reference = lambda image: exp.model.apply(
    state.reference, image, train=False, use_running_average=True, method="encode"
  )
  context = Context(
    views=views,
    step=state.step,
    key=named_key(key, "objectives"),
    draws=draws,
    student=Passes(apply, state.teacher),
    teacher=Passes(train_step.teacher_pass(exp.model, exp.method.teacher_parts), state.teacher),
    reference=reference if exp.method.uses_reference else None,
    player=state.player["params"] if exp.player else None,
    phase_start=phase_start,
  )
  exp.method.objective.apply(state.objective, context)  # asks for the passes; its loss is not used
  return found


def panel_columns(
  exp: experiment.Experiment,
  state: TrainState,
  batch: Any,
  views: dict[str, View],
  ground_truth: np.ndarray,
) -> dict[str, Any]:
  """Arrays for `panels.draw`, an image a row.

  Source and target images, the mixed view, the teacher's pseudo-labels, both networks' predictions
  for the target and its ground truth.
  """
  columns = {"source": _picture(views["source"]), "target": batch["target"]["image"]}
  if "mixed" in views:
    columns["mixed"] = _picture(views["mixed"])
    columns["mixed: label"] = views["mixed"].label
    columns["mixed: weight"] = views["mixed"].weight
  if "target" in views and (views["target"].label != IGNORE).any():
    columns["pseudo-label"] = views["target"].label
  for name, variables in (("student", state.student), ("teacher", state.teacher)):
    size = tuple(int(side) for side in ground_truth.shape[1:])
    columns[f"{name}'s prediction"] = exp.predict(variables, batch["target"]["image"], size)
  columns["ground truth"] = ground_truth
  return columns


def view_columns(
  exp: experiment.Experiment, views: dict[str, View], boxes: Boxes
) -> tuple[dict[str, Any], list[str]]:
  """Arrays for `panels.draw`, a view a row: image, label and weight of the first images; row names.

  Views that are the same share a row. A box is drawn around HRDA's detail crop, and around the pixels
  that count where these are a rectangle (CutMix, margins).
  """
  names: list[list[str]] = []
  for name, view in views.items():
    same = [group for group in names if _equal(views[group[0]], view)]
    if same:
      same[0].append(name)
    else:
      names.append([name])
  columns: dict[str, list[np.ndarray]] = {}
  for group in names:
    view = views[group[0]]
    images = _picture(view)
    for i in range(min(len(images), VIEW_IMAGES)):
      found = [boxes[name][i] for name in group if name in boxes] or [_box_of(view.weight[i])]
      for box in found:
        _outline(images[i], box)
      for title, array in (("image", images), ("label", view.label), ("weight", view.weight)):
        columns.setdefault(f"{title} {i + 1}", []).append(array[i])
  return columns, [" = ".join(group) for group in names]


def _picture(view: View) -> np.ndarray:
  """The images of a view as uint8."""
  return np.clip(np.round(255 * np.asarray(view.image)), 0, 255).astype(np.uint8)


def _equal(first: View, second: View) -> bool:
  return all(
    np.array_equal(getattr(first, part), getattr(second, part))
    for part in ("image", "label", "weight")
  )


def _box_of(weight: np.ndarray) -> np.ndarray | None:
  """The rectangle that the pixels of [H,W] above 0 fill, or None if they fill none, or all."""
  rows, columns = (np.flatnonzero((weight > 0).any(axis)) for axis in (1, 0))
  if not len(rows):
    return None
  box = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
  filled = (weight[box[0] : box[1], box[2] : box[3]] > 0).all()
  return box if filled and (weight == 0).any() else None


def _outline(image: np.ndarray, box: np.ndarray | None) -> None:
  """Draws the edge of the box (y1, y2, x1, x2) into [H,W,3]."""
  if box is None:
    return
  y1, y2, x1, x2 = (int(edge) for edge in box)
  line = max(len(image) // 96, 1)
  inside = image[y1:y2, x1:x2].copy()
  image[y1:y2, x1:x2] = BOX_COLOUR
  image[y1 + line : y2 - line, x1 + line : x2 - line] = inside[line:-line, line:-line]
