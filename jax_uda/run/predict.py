"""Prediction files of images without labels, for the eye and for the servers of test sets."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.data import label_spaces
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline.examples import sizes_of
from jax_uda.run import image_list, legend, submission, video
from jax_uda.run.experiment import Experiment
from jax_uda.run.image_prediction import palette_of
from jax_uda.run.prediction_writer import OVERLAY, PredictionWriter
from jax_uda.run.trained_model import TrainedModel
from jax_uda.step.state import TrainState

CLASSES = "classes.json"


class UnreadableImagesError(ValueError):
  """Images that could not be read, after all others have been predicted."""


@dataclasses.dataclass(frozen=True)
class Request:
  """Which images are predicted, and what is written of each.

  Attributes:
    images: Files, folders and lists, as in `image_list.find`.
    suffix: End of the stems of the images in folders; other files are left out.
    ids: Which ids are written, "train" or "cityscapes", as in `written_ids`.
    server: One of `submission.SERVERS`, which determines the ids; empty: no server.
    overlay: Whether the images are written with the colors of the classes over them.
    confidence: Whether confidences are written.
  """

  images: str | tuple[str, ...]
  suffix: str = ""
  ids: str = "train"
  server: str = ""
  overlay: bool = False
  confidence: bool = False

  def find(self) -> list[image_list.Image]:
    """The images; raises ValueError as `image_list.find`, and for videos that nothing here reads."""
    images = image_list.find(self.images, self.suffix, is_flat=bool(self.server))
    for image in images:
      if video.is_video(image.file):
        video.check_library(image.file)
    return images


def written_ids(label_space: LabelSpace, ids: str) -> np.ndarray:
  """uint8 [C]: the id that is written for each class.

  Args:
    label_space: The C classes.
    ids: "train", the ids 0..C-1, or "cityscapes", the label ids of Cityscapes.

  Raises:
    ValueError: Cityscapes' label ids are asked for and the classes are others.
  """
  if ids == "train":
    return np.arange(label_space.num_classes, dtype=np.uint8)
  if label_space.names != label_spaces.CITYSCAPES19.names:
    raise ValueError(f"--ids={ids} needs the 19 Cityscapes classes, not {label_space.name}.")
  return np.array([np.argmax(c == label_spaces.CITYSCAPES_IDS) for c in range(19)], np.uint8)


def write(
  exp: Experiment,
  state: TrainState,
  workdir: pathlib.Path,
  *,
  network: str = "student",
  out: pathlib.Path | None = None,
  **request: Any,
) -> pathlib.Path:
  """Writes a PNG of class ids for each image into `<workdir>/predictions/<network>`.

  The network sees an image as it would see it in the target's validation set: at its own size, or fitted
  into the `size` of the data set. Predictions have the size of the image files. Windows, flips, scales and
  class weights are those of `config.eval` for the target. The PNGs have the palette of the classes; their
  values are ids. For a server the predictions are grey and go into a new folder
  `<workdir>/predictions/<server>-<network>-<step>`, which appears when it is complete, with a zip to hand in.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    network: "student" or "teacher".
    out: The folder to write to, if not one below `workdir`.
    **request: The fields of a `Request`.

  Returns:
    The folder of the predictions.

  Raises:
    ValueError: As in `image_list.find`, `written_ids` and `submission`.
    UnreadableImagesError: All other images are predicted.
  """
  settings, variables = exp.settings.evaluation, state.variables(network)
  make_writer = functools.partial(
    PredictionWriter,
    predict=lambda images, size: exp.learner.predict(
      variables, images, settings.inference, size=size
    ),
    bound=exp.domains.image_bound,
    batch_size=settings.batch_size,
    title=f"predictions of the {network}",
    inference=settings.inference,
    reading=exp.domains.reading,
    usual_sizes=sizes_of(exp.domains.target_val),
  )
  folder = out or workdir / "predictions" / network
  return _write(make_writer, exp.domains.label_space, Request(**request), folder, int(state.step))


def write_of_model(
  model: TrainedModel, request: Request, *, out: pathlib.Path | None = None
) -> pathlib.Path:
  """Writes a PNG of class ids for each image, as `write`, without the data of the run.

  Args:
    model: The network.
    request: Images, and what is written of them.
    out: The folder to write to; None: `predictions/<network>` in the folder of the run.

  Returns:
    The folder of the predictions.

  Raises:
    ValueError: As in `write`; or the network comes from a file, and `out` is not given.
    UnreadableImagesError: All other images are predicted.
  """
  if out is None and model.folder is None:
    raise ValueError("--out is missing, e.g. --out=predictions: a file has no folder of its own.")
  make_writer = functools.partial(
    PredictionWriter,
    predict=model.predictor,
    bound=model.image_bound,
    batch_size=max(model.batch_size, model.mesh.size),
    title=f"predictions of the {model.network}",
    inference=model.inference,
    reading=model.reading,
    usual_sizes=model.image_sizes,
  )
  folder = out or pathlib.Path(model.folder or "", "predictions", model.network)
  return _write(make_writer, model.classes, request, folder, model.step)


def _write(
  make_writer: Callable[..., PredictionWriter],
  space: LabelSpace,
  request: Request,
  folder: pathlib.Path,
  step: int,
) -> pathlib.Path:
  """Writes into `folder` or, for a server, into a new one beside it that is named after both."""
  server = request.server
  form = submission.find(server, space) if server else None
  listed = request.find()
  if form and len(listed) != form.num_images:
    say(f"note: the test set of {server} has {form.num_images} images, not {len(listed)}")
  ids = written_ids(space, form.ids if form else request.ids)
  if form:
    writer = make_writer(ids=ids)
    wanted = folder.with_name(f"{server}-{folder.name}-{step}")
    folder = submission.write(wanted, form, listed, lambda folder: writer.write(listed, folder))
    say(f"for the server of {server}: {folder / submission.ZIP}")
  else:
    writer = make_writer(
      ids=ids,
      palette=palette_of(space, ids),
      overlay=space.palette if request.overlay else None,
      confidence=request.confidence,
    )
    writer.write(listed, folder)
    _write_classes(space, ids, folder, with_legend=request.overlay)
  pace = f", {writer.per_second:.2g} images/s" if writer.per_second else ""
  say(f"{writer.number} predictions of {step} steps{pace}: {folder}")
  if writer.problems:
    raise UnreadableImagesError(
      f"{len(writer.problems)} of {len(listed)} images have no prediction: {' '.join(writer.problems[:5])}"
      + (" …" if len(writer.problems) > 5 else "")
    )
  return folder


def _write_classes(
  space: LabelSpace, ids: np.ndarray, folder: pathlib.Path, *, with_legend: bool
) -> None:
  """Writes what the ids and colors mean, for programs and, beside overlays, for the eye."""
  if not mesh_lib.is_main_process():
    return
  (folder / OVERLAY if with_legend else folder).mkdir(parents=True, exist_ok=True)
  rows = zip(ids.tolist(), space.names, space.palette.tolist(), strict=True)
  content = [{"id": number, "name": name, "color": color} for number, name, color in rows]
  files.write_atomically(folder / CLASSES, json.dumps(content, indent=2))
  if with_legend:
    files.write_bytes_atomically(folder / OVERLAY / legend.FILE, legend.draw(space))
