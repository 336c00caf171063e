"""What a method makes of some validation images, as arrays for pictures."""

from typing import Any

import jax
import numpy as np

from jax_uda import experiment, train_step
from jax_uda.context import Passes, View
from jax_uda.data import rescale
from jax_uda.data.label_spaces import IGNORE
from jax_uda.methods import self_training
from jax_uda.state import TrainState


def _pick(images: Any, number: int) -> list[dict[str, np.ndarray]]:
  """`number` examples spread over the set, their labels at the size of the images."""
  return [
    {"image": image, "label": rescale.resize_label(label, image.shape[:2])}
    for image, label in (
      (images[int(i)]["image"], images[int(i)]["label"])
      for i in np.linspace(0, len(images) - 1, number).round()
    )
  ]


def views_of(exp: experiment.Experiment, state: TrainState, batch: Any) -> dict[str, View]:
  """The method's views of `batch`, as a training step would build them.

  A method without a source view, which trains its second player alone, shows what that makes of it.
  """

  @jax.jit
  def build(teacher, player, key, batch):
    passes = Passes(train_step.teacher_pass(exp.model), teacher)
    seen = exp.player.prepare(player, batch) if exp.player else batch
    views = exp.method.views(exp.method.draw(key, batch), seen, passes)
    return {"source": self_training.source_view(seen, exp.task)} | views

  key = jax.random.fold_in(state.key, state.step)
  player = state.player["params"] if state.player else None
  return jax.device_get(build(state.teacher, player, key, batch))


def panel_columns(exp: experiment.Experiment, state: TrainState) -> dict[str, Any]:
  """Arrays for `panels.draw`, for some validation images.

  The method's views of source and target image, the teacher's pseudo-labels, both networks'
  predictions for the target and its ground truth.
  """
  number = min(
    max(exp.config.panel_images, 1), len(exp.domains.source_val), len(exp.domains.target_val)
  )
  source, target = _pick(exp.domains.source_val, number), _pick(exp.domains.target_val, number)
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
  views = views_of(exp, state, batch)
  mean, std = np.array(exp.task.image_mean), np.array(exp.task.image_std)
  picture = lambda view: np.clip(view.image * std + mean, 0, 255).astype(np.uint8)
  columns = {"source": picture(views["source"]), "target": batch["target"]["image"]}
  for name, view in views.items():
    if name not in columns:
      columns[name] = picture(view)
      columns[f"{name}: label"] = view.label
      columns[f"{name}: weight"] = view.weight
  if "target" in views and (views["target"].label != IGNORE).any():
    columns["pseudo-label"] = views["target"].label
  for name, variables in (("student", state.student), ("teacher", state.teacher)):
    size = (int(height), int(width))
    columns[f"{name}'s prediction"] = exp.predict(variables, batch["target"]["image"], size)
  columns["ground truth"] = stack(target, "label")
  return columns
