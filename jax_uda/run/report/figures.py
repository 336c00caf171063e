"""The figures of a run: what the method sees, what the networks predict, and how they embed it.

panels.png       images, mixed view, pseudo-labels, predictions and ground truth side by side
views.png        every view of a training step with its label and its weight
projection.png   embeddings of validation pixels in the plane, before and after training
prototypes.png   similarities of the class prototypes over the training
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.common.log import say
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import batching, rescale
from jax_uda.ops import canvas
from jax_uda.ops.resize import Size, size_of
from jax_uda.run.experiment import Experiment
from jax_uda.run.report import embeddings, examples, panels, prototypes, views
from jax_uda.run.report.writer import MetricWriter
from jax_uda.step.context import View
from jax_uda.step.learner import Learner, Seen
from jax_uda.step.method import Batch, with_unit_images
from jax_uda.step.state import TrainState
from jax_uda.views import self_training

DRAWN = "figures.json"  # says that all figures are there
FIRST_EMBEDDINGS = "projection_start.npz"  # those before training
STRIDE = 32  # pixels: images of different sizes are cut to a multiple, which all networks take


def keep_first_embeddings(exp: Experiment, state: TrainState, workdir: pathlib.Path) -> None:
  """Writes the embeddings before training, if the run ends with a projection."""
  if exp.settings.figures.projection:
    sample = _embeddings(exp, state)  # runs the network: on every process
    if mesh_lib.is_main_process():
      embeddings.save(workdir / FIRST_EMBEDDINGS, sample)


def note_prototypes(state: TrainState, workdir: pathlib.Path) -> None:
  """Adds the similarities of the prototypes at this step to the run's file."""
  if mesh_lib.is_main_process():
    prototypes.add(workdir, int(state.step), state.objective_state)


def draw_views(
  exp: Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None = None
) -> None:
  """Draws the views of a training step at `state`, `views_<step>.png`."""
  batch, _ = validation_batch(exp)
  views_of_step = step_views(exp.learner, state, batch)  # runs the networks: on every process
  if mesh_lib.is_main_process():
    album = _Album(workdir, int(state.step), writer)
    draw = lambda path: _draw_views(exp, state, views_of_step, path)
    album.add("views", draw, file=f"views_{album.step:06d}.png")


def draw_at_end(
  exp: Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None = None
) -> None:
  """Draws all figures; `projection.png` and `prototypes.png` where there is something to show.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    writer: Receives the figures too.
  """
  batch, ground_truth = validation_batch(exp)
  views_of_step = step_views(exp.learner, state, batch)
  columns = panel_columns(exp, state, batch, views_of_step.views, ground_truth)
  projection = exp.settings.figures.projection
  sample = _embeddings(exp, state) if projection else None
  kept = _examples(exp, state)
  note_prototypes(state, workdir)
  if not mesh_lib.is_main_process():  # all of the above runs the networks: on every process
    return
  examples.write(workdir, kept)
  space, step = exp.domains.label_space, int(state.step)
  title = f"{exp.settings.title}, step {step}"
  album = _Album(workdir, step, writer)
  album.add("panels", lambda path: panels.draw(path, columns, space, title=title))
  album.add("views", lambda path: _draw_views(exp, state, views_of_step, path))
  if sample and projection:
    samples = {f"step {step}": sample}
    if first := embeddings.load(workdir / FIRST_EMBEDDINGS):
      samples = {"before training": first} | samples
    draw = lambda path: embeddings.draw(path, samples, space, projection=projection, title=title)
    album.add("projection", draw)
  similarities = prototypes.read(workdir)
  if similarities:
    text = f"{title}: similarity of the prototypes"
    album.add(
      "prototypes", lambda path: prototypes.draw(path, similarities, space.names, title=text)
    )
  state_files.write_json(workdir / DRAWN, {"step": step})


def drawn_step(workdir: pathlib.Path) -> int | None:
  """The step whose figures `draw_at_end` has drawn to the last; None if it did not get so far."""
  path = workdir / DRAWN
  if not path.is_file():
    return None
  purpose = "it says that the figures of this run are drawn; remove it"
  return state_files.read_json(path, dict, purpose).get("step")


def validation_batch(exp: Experiment) -> tuple[Batch, np.ndarray]:
  """A batch as a training step takes it, of validation images.

  Returns:
    The batch, without labels of the target; and those labels, [B,H,W] uint8.
  """
  source, target = exp.domains.source_val, exp.domains.target_val
  number = min(exp.settings.figures.panel_images, len(source), len(target))
  rows = {"source": pick(source, number), "target": pick(target, number)}
  sizes = np.array([row["label"].shape for row in (*rows["source"], *rows["target"])])
  smallest = (int(sizes[:, 0].min()), int(sizes[:, 1].min()))
  stays = bool((sizes == sizes[0]).all()) and _takes(exp, smallest)
  stride = STRIDE
  if hasattr(exp.learner.model, "crop_size"):  # HRDA halves images, and its losses want whole cells
    stays, stride = False, 2 * STRIDE
  size = smallest if stays else _whole_strides(smallest, stride)
  rows = {domain: [_cut(row, size) for row in picked] for domain, picked in rows.items()}
  stack = lambda domain, field: np.stack([row[field] for row in rows[domain]])
  batch: Any = {
    "source": {"image": stack("source", "image"), "label": stack("source", "label")},
    "target": {"image": stack("target", "image")},
  }
  if "day_image" in exp.domains.target_train.fields:  # validation images have none
    batch["target"]["day_image"] = batch["target"]["image"]
  if exp.settings.data.pseudo_labels:  # nor labels from files
    batch["target"]["label"] = np.full_like(batch["target"]["image"][..., 0], IGNORE)
  return batch, stack("target", "label")


def _takes(exp: Experiment, size: Size) -> bool:
  """Whether the network takes images of `size` as they are."""
  return exp.learner.canvas(exp.abstract_state().variables("student"), size) == size


def _whole_strides(size: Size, stride: int) -> Size:
  """The largest size in whole strides that `size` holds; at least one stride."""
  return max(size[0] // stride, 1) * stride, max(size[1] // stride, 1) * stride


def _corner(array: np.ndarray, size: Size) -> np.ndarray:
  """The upper left part of an image or label; where it is smaller, it is padded and the label ignored."""
  larger = (max(array.shape[0], size[0]), max(array.shape[1], size[1]))
  padded = canvas.pad(array[None], larger, IGNORE if array.ndim == 2 else None)[0]
  return padded[: size[0], : size[1]]


def _cut(example: dict[str, np.ndarray], size: Size) -> dict[str, np.ndarray]:
  return {name: _corner(array, size) for name, array in example.items()}


def step_views(learner: Learner, state: TrainState, batch: Batch) -> Seen:
  """What a training step at `state` looks at, with the source images among the views.

  A method without a source view, which trains its auxiliary networks alone, shows what those make of the
  source; where there are such networks, the view `untranslated` shows the source as it was.
  """
  snapshot = learner.views_of(state, batch)
  extra = {"source": self_training.source_view(snapshot.batch)}
  if learner.auxiliary:
    extra = {"untranslated": self_training.source_view(with_unit_images(batch))} | extra
  return snapshot._replace(views=extra | snapshot.views)


def pick(examples: Any, number: int) -> list[dict[str, np.ndarray]]:
  """`number` examples spread evenly over the set, their labels at the size of the images."""
  picked = []
  for index in np.linspace(0, len(examples) - 1, number).round():
    example = examples[int(index)]
    label = rescale.resize_label(example["label"], example["image"].shape[:2])
    picked.append({"image": example["image"], "label": label})
  return picked


def pick_names(examples: Any, number: int) -> list[str]:
  """The file names of the examples that `pick` takes; their numbers where there were no files."""
  names = getattr(examples, "names", ())
  indices = np.linspace(0, len(examples) - 1, number).round().astype(int)
  return [names[index] if names else f"image {index}" for index in indices]


def panel_columns(
  exp: Experiment,
  state: TrainState,
  batch: Batch,
  shown: dict[str, View],
  ground_truth: np.ndarray,
) -> dict[str, Any]:
  """Arrays for `panels.draw`, one image per row.

  The columns are source and target images, the mixed view, the teacher's pseudo-labels, both networks'
  predictions for the target, and its ground truth.
  """
  target = np.asarray(batch["target"]["image"])
  columns: dict[str, Any] = {"source": views.picture(shown["source"]), "target": target}
  if "mixed" in shown:
    mixed = shown["mixed"]
    columns["mixed"] = views.picture(mixed)
    columns["mixed: label"] = mixed.label
    columns["mixed: weight"] = mixed.weight
  if "target" in shown and (np.asarray(shown["target"].label) != IGNORE).any():
    columns["pseudo-label"] = shown["target"].label
  for network in exp.settings.evaluation.networks:
    labels = _whole_predictions(exp, state.variables(network), len(target))
    columns[f"{network}'s prediction"] = np.stack(
      [_corner(label, size_of(target)) for label in labels]
    )
  columns["ground truth"] = ground_truth
  return columns


def _whole_predictions(exp: Experiment, variables: Any, number: int) -> list[np.ndarray]:
  """Predictions [H,W] for the target's images of a panel, as they are scored."""
  settings, labels = exp.settings.evaluation, []
  images = [{"image": row["image"]} for row in pick(exp.domains.target_val, number)]
  for batch in batching.evaluation_batches(images, settings.batch_size):
    labels += list(exp.learner.predict(variables, batch["image"], settings.inference).label)
  return labels


def _examples(exp: Experiment, state: TrainState) -> list[examples.Example]:
  """The target's validation images of the report, with what the networks predict for them."""
  target = exp.domains.target_val
  number = min(exp.settings.figures.panel_images, len(target))
  rows, names = pick(target, number), pick_names(target, number)
  predicted = {
    network: _whole_predictions(exp, state.variables(network), number)
    for network in exp.settings.evaluation.networks
  }
  return [
    examples.Example(
      name,
      row["image"],
      row["label"],
      {network: labels[i] for network, labels in predicted.items()},
    )
    for i, (name, row) in enumerate(zip(names, rows, strict=True))
  ]


def _embeddings(exp: Experiment, state: TrainState) -> embeddings.Sample:
  """Embeddings of some validation pixels of both domains."""

  def usable(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    size = row["label"].shape
    return row if _takes(exp, size) else _cut(row, _whole_strides(size, STRIDE))

  source, target = (
    [usable(row) for row in pick(examples, min(embeddings.IMAGES, len(examples)))]
    for examples in (exp.domains.source_val, exp.domains.target_val)
  )
  return embeddings.collect(
    exp.learner,
    state.variables("student"),
    source,
    target,
    num_classes=exp.domains.label_space.num_classes,
    batch_size=exp.settings.evaluation.batch_size,
  )


def _draw_views(exp: Experiment, state: TrainState, snapshot: Seen, path: pathlib.Path) -> None:
  columns, row_names = views.columns(snapshot.views, snapshot.crops)
  title = f"views of {exp.settings.title}, step {int(state.step)}"
  panels.draw(path, columns, exp.domains.label_space, title=title, row_names=row_names)


class _Album(NamedTuple):
  """Where the figures of one step go.

  Attributes:
    workdir: Folder of the run.
    step: Number of steps the state has made.
    writer: Receives the figures too.
  """

  workdir: pathlib.Path
  step: int
  writer: MetricWriter | None

  def add(self, name: str, draw: Callable[[pathlib.Path], None], *, file: str = "") -> None:
    """Draws a figure and says where it is; says so if the package for figures is missing.

    Args:
      name: Name of the figure.
      draw: Writes it to a path.
      file: Name of its file; `<name>.png` if empty.
    """
    path = self.workdir / (file or f"{name}.png")
    try:
      draw(path)
    except ImportError as error:
      say(f"no {path.name}: {error}")
      return
    say(f"picture: {path}")
    image = cv2.imread(str(path)) if self.writer else None
    if self.writer and image is not None:
      self.writer.write_image(self.step, name, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
