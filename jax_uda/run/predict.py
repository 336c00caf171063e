"""Prediction files of images without labels, for the servers of test sets."""

import dataclasses
import glob
import math
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.data import label_spaces
from jax_uda.data.datasets import folders as image_folders
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Example
from jax_uda.run import submission
from jax_uda.run.experiment import Experiment
from jax_uda.step.inference import Prediction, Size
from jax_uda.step.state import TrainState

# (images uint8 [B,H,W,3], size) -> labels and confidences [B, *size]
Predict = Callable[[np.ndarray, Size], Prediction]


def fit(image: np.ndarray, bound: Size) -> np.ndarray:
  """Resizes uint8 [H,W,3] into `bound`, with sides that networks take.

  Networks take multiples of their strides. A power of two that divides both sides of the bound, at most 32,
  divides the sides of the result; the proportions change by less than that.
  """
  unit = math.gcd(32, *bound)
  height, width = rescale.keep_ratio_size(image.shape[:2], bound)
  rounded = lambda side: max(round(side / unit), 1) * unit
  return rescale.resize_image(image, (rounded(height), rounded(width)))


class ImageFiles(Sequence[Example]):
  """Image files as evaluation reads them: each fitted into `bound`, with a label of 255 at full size."""

  def __init__(self, paths: Sequence[pathlib.Path], bound: Size):
    """Takes the files and the (height, width) into which they are fitted."""
    self._paths, self._bound = paths, bound

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Example:
    image = image_files.read_image(self._paths[index])
    label = np.full(image.shape[:2], IGNORE, np.uint8)
    return {"image": fit(image, self._bound), "label": label}


def _folders(images: str) -> list[pathlib.Path]:
  """The folders that `images` names; raises ValueError where it names none."""
  paths = []
  for pattern in images.split(","):
    path = os.path.expanduser(pattern.strip())
    matches = [path] if os.path.isdir(path) else filter(os.path.isdir, sorted(glob.glob(path)))
    matches = list(map(pathlib.Path, matches))
    if not matches:
      raise ValueError(f"--images={pattern} is no folder on this machine.")
    paths += matches
  return paths


def list_images(images: str, suffix: str = "") -> list[pathlib.Path]:
  """The image files in or below folders, in order.

  Args:
    images: A folder, or several with commas between them; `*` stands for any part of a name.
    suffix: End of the stems; other files are left out.

  Raises:
    ValueError: There is no folder or no image, or two images would have the same prediction file.
  """
  paths = [
    pathlib.Path(path)
    for folder in _folders(images)
    for path in image_folders.files(folder, suffix=suffix).values()
  ]
  if not paths:
    raise ValueError(f"--images={images}: no image whose name ends in {suffix!r} and, e.g., .png.")
  by_stem: dict[str, pathlib.Path] = {}
  for path in paths:
    if by_stem.setdefault(path.stem, path) != path:
      raise ValueError(
        f"{by_stem[path.stem]} and {path} would have the same prediction file {path.stem}.png; "
        "predict them one after the other, in two folders."
      )
  return paths


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


@dataclasses.dataclass(frozen=True)
class PredictionWriter:
  """Writes a grey PNG of class ids per image.

  Attributes:
    predict: The network.
    ids: uint8 [C], the id that is written for each class.
    bound: (height, width) into which images are fitted for the network.
    batch_size: Images that are predicted together.
    title: Text of the progress bar.
  """

  predict: Predict
  ids: np.ndarray
  bound: Size
  batch_size: int
  title: str

  def write(self, images: Sequence[pathlib.Path], folder: pathlib.Path) -> None:
    """Writes `<folder>/<stem of the image>.png` of all images, each complete or not at all."""
    is_main = mesh_lib.is_main_process()
    if is_main:
      folder.mkdir(parents=True, exist_ok=True)
    batches = pipeline.evaluation_batches(ImageFiles(images, self.bound), self.batch_size)
    names = iter(path.stem for path in images)
    with tqdm(total=len(images), desc=self.title, unit=" images") as bar:
      for batch in batches:
        labels = self.predict(batch["image"], batch["label"].shape[1:]).label
        for label in self.ids[labels]:
          path = folder / f"{next(names)}.png"
          if is_main:
            files.write_bytes_atomically(path, image_files.encode_png(label))
        bar.update(len(labels))


def write(
  exp: Experiment,
  state: TrainState,
  workdir: pathlib.Path,
  *,
  images: str,
  suffix: str = "",
  network: str = "student",
  ids: str = "train",
  server: str = "",
) -> pathlib.Path:
  """Writes a grey `<stem of the image>.png` for each image into `<workdir>/predictions/<network>`.

  Images are fitted into the size of the target's validation images, up to the networks' strides;
  predictions have the size of the image files. Windows, flips, scales and class weights are those of
  `config.eval` for the target. For a server the predictions go into a new folder
  `<workdir>/predictions/<server>-<network>-<steps>`, with a zip of them.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    images: Folders that are searched with all folders below them, as in `list_images`.
    suffix: End of the stems of the images; other files are left out.
    network: "student" or "teacher".
    ids: Which ids are written, "train" or "cityscapes", as in `written_ids`.
    server: One of `submission.SERVERS`, which determines the ids; empty: no server.

  Returns:
    The folder of the predictions.

  Raises:
    ValueError: As in `list_images`, `written_ids` and `submission`, or a file is no image.
  """
  space, settings = exp.domains.label_space, exp.settings.evaluation
  form = submission.find(server, space) if server else None
  paths = list_images(images, suffix)
  if form and len(paths) != form.num_images:
    say(f"note: the test set of {server} has {form.num_images} images, not {len(paths)}")
  variables = state.variables(network)
  writer = PredictionWriter(
    predict=lambda images, size: exp.learner.predict(
      variables, images, settings.inference, size=size
    ),
    ids=written_ids(space, form.ids if form else ids),
    bound=exp.domains.target_val[0]["image"].shape[:2],
    batch_size=settings.batch_size,
    title=f"predictions of the {network}",
  )
  folder = workdir / "predictions"
  if form:
    wanted = folder / f"{server}-{network}-{int(state.step)}"
    folder = submission.write(wanted, form, paths, lambda folder: writer.write(paths, folder))
    say(f"for the server of {server}: {folder / submission.ZIP}")
  else:
    folder = folder / network
    writer.write(paths, folder)
  say(f"{len(paths)} predictions of {int(state.step)} steps: {folder}")
  return folder
