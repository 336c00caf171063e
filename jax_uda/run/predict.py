"""Prediction files of images without labels, for the servers of test sets."""

import functools
import glob
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jax_uda.common import mesh as mesh_lib
from jax_uda.data import label_spaces
from jax_uda.data.datasets import folders, image_files
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import batches as pipeline
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Example
from jax_uda.run import experiment, submission
from jax_uda.step.state import TrainState


class ImageFiles(Sequence[Example]):
  """Image files as evaluation reads them: each fitted into `bound`, with a label of 255 at full size."""

  def __init__(self, files: Sequence[pathlib.Path], bound: tuple[int, int]):
    self._files = files
    self._bound = bound

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> Example:
    image = image_files.read_image(self._files[index])
    size = image.shape[:2]
    # Networks take multiples of their strides: what divides the sides of the bound, divides these.
    unit = math.gcd(32, *self._bound)
    height, width = rescale.keep_ratio_size(size, self._bound)
    fitted = [max(round(side / unit), 1) * unit for side in (height, width)]
    return {"image": rescale.resize_image(image, fitted), "label": np.full(size, IGNORE, np.uint8)}


def _folders(images: str) -> list[pathlib.Path]:
  """The folders that `images` names; raises ValueError where it names none."""
  found = []
  for pattern in images.split(","):
    path = os.path.expanduser(pattern.strip())
    named = [path] if os.path.isdir(path) else filter(os.path.isdir, sorted(glob.glob(path)))
    places = list(map(pathlib.Path, named))
    if not places:
      raise ValueError(f"--images={pattern} is no folder on this machine.")
    found += places
  return found


def check_images(images: str, suffix: str) -> list[pathlib.Path]:
  """The image files in or below folders, in order.

  Args:
    images: A folder, or several with commas between them; `*` stands for any part of a name.
    suffix: End of the stems; others are left out.

  Raises:
    ValueError: There is no folder or no image, or two images have one name.
  """
  found = [
    file for folder in _folders(images) for file in folders.files(folder, suffix=suffix).values()
  ]
  if not found:
    raise ValueError(f"--images={images}: no image whose name ends in {suffix!r} and, e.g., .png.")
  by_stem: dict[str, pathlib.Path] = {}
  for file in found:
    if by_stem.setdefault(file.stem, file) != file:
      raise ValueError(
        f"{by_stem[file.stem]} and {file} would have the same prediction file {file.stem}.png; "
        "predict them one after the other, in two folders."
      )
  return found


def written_ids(label_space: LabelSpace, ids: str) -> np.ndarray:
  """uint8 [C]: what is written for each class.

  Raises:
    ValueError: Cityscapes' label ids are asked for and the classes are others.
  """
  if ids == "train":
    return np.arange(label_space.num_classes, dtype=np.uint8)
  if label_space.names != label_spaces.CITYSCAPES19.names:
    raise ValueError(f"--ids={ids} needs the 19 Cityscapes classes, not {label_space.name}.")
  return np.array([np.argmax(c == label_spaces.CITYSCAPES_IDS) for c in range(19)], np.uint8)


def _write_files(
  exp: experiment.Experiment,
  variables: Any,
  files: Sequence[pathlib.Path],
  table: np.ndarray,
  title: str,
  folder: pathlib.Path,
) -> None:
  """Writes `<folder>/<stem of the image>.png` of all files, each complete or not at all."""
  if mesh_lib.is_main_process():
    folder.mkdir(parents=True, exist_ok=True)
  bound = exp.domains.target_val[0]["image"].shape[:2]
  batches = pipeline.evaluation_batches(ImageFiles(files, bound), exp.config.eval.batch_size)
  names = iter(file.stem for file in files)
  with tqdm(total=len(files), desc=title, unit=" images") as bar:
    for batch in batches:
      found = table[exp.predict(variables, batch["image"], batch["label"].shape[1:])]
      for label in found:
        name = next(names)
        if mesh_lib.is_main_process():
          temporary = folder / f".{name}.{os.getpid()}.tmp"
          temporary.write_bytes(image_files.encode_png(label))
          os.replace(temporary, folder / f"{name}.png")
      bar.update(len(found))


def write(
  exp: experiment.Experiment,
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
  predictions have the size of the image files. All else is as `config.eval` has it for the
  target: windows, flips, scales, class weights. For a server they go into a new folder
  `<workdir>/predictions/<server>-<network>-<steps>`, with a zip of them.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    images: Folders, searched with all below them, as in `check_images`.
    suffix: See there.
    network: `student` or `teacher`.
    ids: `train` (0..C-1) or `cityscapes` (label ids).
    server: One of `submission.SERVERS`, which says the ids; empty: none.

  Returns:
    The folder of the predictions.

  Raises:
    ValueError: As in `check_images`, `written_ids` and `submission`, or a file is no image.
  """
  space = exp.domains.label_space
  form = submission.find(server, space) if server else None
  table = written_ids(space, form.ids if form else ids)
  files = check_images(images, suffix)
  if form and len(files) != form.number:
    print(f"note: the test set of {server} has {form.number} images, not {len(files)}", flush=True)
  title = f"predictions of the {network}"
  write_files = functools.partial(_write_files, exp, getattr(state, network), files, table, title)
  folder = workdir / "predictions"
  if form:
    wanted = folder / f"{server}-{network}-{int(state.step)}"
    folder = submission.write(wanted, form, files, write_files)
    print(f"for the server of {server}: {folder / submission.ZIP}", flush=True)
  else:
    folder = folder / network
    write_files(folder)
  print(f"{len(files)} predictions of {int(state.step)} steps: {folder}", flush=True)
  return folder
