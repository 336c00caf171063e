"""`classes.json` of a run: what its networks predict, and how images reach them."""

import pathlib
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.data.datasets import catalog
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import examples
from jax_uda.run.saved_config import CONFIG

FILE = "classes.json"


class Classes(NamedTuple):
  """What a trained network predicts.

  Attributes:
    label_space: The classes.
    image_bound: (height, width) into which the run fitted images of the target; None: they kept their
      size.
    image_size: (height, width) of the first validation image of the target as the network saw it; None
      if there was none or the run does not say.
    reading: How image files of the target are read; None if the run does not say.
  """

  label_space: LabelSpace
  image_bound: tuple[int, int] | None
  image_size: tuple[int, int] | None
  reading: Reading | None = None

  def to_plain(self) -> dict[str, Any]:
    """The content as JSON has it; `from_plain` reads it."""
    space, reading = self.label_space, self.reading
    plain = {
      "name": space.name,
      "names": list(space.names),
      "palette": space.palette.tolist(),
      "subsets": {name: list(ids) for name, ids in space.subsets.items()},
      "image_bound": list(self.image_bound) if self.image_bound else None,
      "image_size": list(self.image_size) if self.image_size else None,
    }
    if reading:
      ranges = [list(pair) for pair in reading.value_range]
      plain["reading"] = {"bands": list(reading.bands), "value_range": ranges}
    return plain


def from_plain(content: Mapping[str, Any]) -> Classes:
  """The classes of `Classes.to_plain`.

  Raises:
    ValueError: An entry is missing or wrong.
  """
  try:
    label_space = LabelSpace(
      content["name"],
      tuple(content["names"]),
      np.array(content["palette"], np.uint8).reshape(-1, 3),
      types.MappingProxyType({name: tuple(ids) for name, ids in content["subsets"].items()}),
    )
    sizes = (content.get("image_bound", content["image_size"]), content["image_size"])
    bound, image_size = ((size[0], size[1]) if size else None for size in sizes)
    reading = None
    if "reading" in content:
      ranges = tuple((low, high) for low, high in content["reading"]["value_range"])
      reading = Reading(tuple(content["reading"]["bands"]), ranges)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise ValueError(f"an entry is missing or wrong: {error!r}") from None
  return Classes(label_space, bound, image_size, reading)


def write(workdir: pathlib.Path, domains: catalog.Domains) -> None:
  """Writes the classes of the run and the size of its images; on the main process only."""
  if not mesh_lib.is_main_process():
    return
  sizes = examples.sizes_of(domains.target_val)
  classes = Classes(
    domains.label_space, domains.image_bound, sizes[0] if sizes else None, domains.reading
  )
  state_files.write_json(workdir / FILE, classes.to_plain())


def read(workdir: pathlib.Path) -> Classes | None:
  """The classes that `write` has written; None where a run of an earlier version has not."""
  path = workdir / FILE
  if not path.is_file():
    return None
  purpose = "it names the classes that the network predicts; remove it, and --mode=eval of that run writes it again"
  content = state_files.read_json(path, dict, purpose)
  try:
    classes = from_plain(content)
  except ValueError as error:
    raise state_files.DamagedFileError(path, str(error), purpose) from None
  # A run of an earlier version has no bound: it fitted images into the size of the first.
  if "image_bound" not in content and not _had_size(workdir):
    return classes._replace(image_bound=None)
  return classes


def _had_size(workdir: pathlib.Path) -> bool:
  """Whether a run of an earlier version resized the images of its target when it prepared them."""
  purpose = "it says with which config this run was started; put a copy of it there"
  target = state_files.read_json(workdir / CONFIG, dict, purpose)["data"]["target"]
  return bool(target.get("size", target.get("name") != "folders"))
