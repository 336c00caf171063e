"""Submissions to the servers of test sets: prediction files in a zip, complete and of the right sizes."""

import itertools
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import PIL.Image

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.data import label_spaces
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run.image_list import Image

ZIP = "submission.zip"  # beside the predictions


class Server(NamedTuple):
  """The form in which a server takes predictions.

  Attributes:
    ids: Which class ids it reads, as in `predict.written_ids`.
    num_images: Number of images in its test set.
    folders: Folders of the zip, each of which gets all predictions.
  """

  ids: str
  num_images: int
  folders: tuple[str, ...] = ("",)


SERVERS = {
  # The server also scores uncertainty; for IoU alone, the same predictions fill all three folders.
  "dark_zurich": Server("train", 151, ("labelTrainIds/", "labelTrainIds_invalid/", "confidence/")),
  "acdc": Server("train", 2000),
  "cityscapes": Server("cityscapes", 1525),
}


def find(name: str, label_space: LabelSpace) -> Server:
  """The server `name`, one of `SERVERS`.

  Raises:
    ValueError: The classes are not the 19 that all of them score.
  """
  server = SERVERS[name]
  if label_space.names != label_spaces.CITYSCAPES19.names:
    raise ValueError(f"--server={name} needs the 19 Cityscapes classes, not {label_space.name}.")
  return server


def _check(images: Sequence[Image], folder: pathlib.Path) -> None:
  """Raises ValueError unless each image has a prediction of its size in `folder`."""
  for image, name in images:
    prediction = folder / f"{name}.png"
    if not prediction.is_file():
      raise ValueError(f"{image} has no prediction {prediction.name}.")
    with PIL.Image.open(image) as one, PIL.Image.open(prediction) as other:
      if one.size != other.size:
        raise ValueError(
          f"The prediction of {image} has size {other.size[::-1]}, not {one.size[::-1]}."
        )


def _zip(images: Sequence[Image], folder: pathlib.Path, server: Server) -> None:
  names = [f"{image.name}.png" for image in images]
  with zipfile.ZipFile(folder / ZIP, "w") as archive:  # PNGs are compressed already
    for inner, name in itertools.product(server.folders, names):
      archive.write(folder / name, f"{inner}{name}")


def _rename(folder: pathlib.Path, wanted: pathlib.Path) -> pathlib.Path:
  """Renames a folder to `wanted` or, if that exists, to the same name with a number behind it."""
  others = (wanted.with_name(f"{wanted.name}-{number}") for number in itertools.count(2))
  free = (target for target in itertools.chain([wanted], others) if not target.exists())
  return folder.rename(next(free))


def write(
  wanted: pathlib.Path,
  server: Server,
  images: Sequence[Image],
  write_predictions: Callable[[pathlib.Path], None],
) -> pathlib.Path:
  """Makes a folder with the predictions and their zip, complete or not at all.

  Args:
    wanted: The folder; if it exists, it stays as it is and the new one gets a number.
    server: The server that the submission is for.
    images: The images.
    write_predictions: Writes `<name>.png` for all images into a folder.

  Returns:
    The new folder; `wanted` in processes that write nothing.

  Raises:
    ValueError: A prediction is missing or has another size than its image.
  """
  partial = files.unfinished(wanted, "partial")
  if not mesh_lib.is_main_process():
    write_predictions(partial)
    return wanted
  files.remove_abandoned(wanted.parent)
  try:
    write_predictions(partial)
    _check(images, partial)
    _zip(images, partial, server)
    return _rename(partial, wanted)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
