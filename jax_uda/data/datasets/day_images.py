"""Day images of the same places for the night images of Dark Zurich.

The tables in `corresp/` name them: a row of a .csv or .txt file holds the night image and its day image,
as paths or names, with or without the ending. Other rows and fields are ignored.
"""

import pathlib
import re
from collections.abc import Sequence

from jax_uda.common import file_walk
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.common.text import shown
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets import pairs as pairs_lib
from jax_uda.data.datasets.layouts import Layout
from jax_uda.data.datasets.pairs import Pair


def _key(name: str, endings: Sequence[str]) -> str:
  """The part of a name that is the same in tables and in file names."""
  name = pathlib.PurePosixPath(name.strip()).name
  for ending in (*endings, *(pathlib.PurePath(ending).stem for ending in endings), ".png"):
    name = name.removesuffix(ending)
  return name


def _read_tables(folder: Path, endings: Sequence[str]) -> list[list[str]]:
  """The rows of all tables below `folder`, as keys."""
  files = [file for file in file_walk.find(folder).files if file.suffix in (".csv", ".txt")]
  texts = (image_files.read_bytes(file).decode(errors="surrogateescape") for file in files)
  lines = [line for text in texts for line in text.splitlines()]
  return [[_key(field, endings) for field in re.split(r"[,;\s]+", line)] for line in lines]


def add(root: Path, pairs: Sequence[Pair], layout: Layout) -> list[Pair]:
  """Returns the pairs, each with the file of its day image.

  Raises:
    SettingError: No table names the day image of a pair.
  """
  endings = layout.image_endings
  files = pairs_lib.files_with(root / layout.days, endings).values()
  days = {_key(file.name, endings): file for file, _ in files}
  nights = {_key(pair.image.name, endings) for pair in pairs}
  day_of: dict[str, Path] = {}
  for row in _read_tables(root / layout.corresp, endings):
    night = next((key for key in row if key in nights), None)
    day = next((days[key] for key in row if key in days and key != night), None)
    if night and day:
      day_of.setdefault(night, day)
  lacking = [pair.image for pair in pairs if _key(pair.image.name, endings) not in day_of]
  if lacking:
    raise SettingError(
      "day_images",
      f": {len(lacking)} of {len(pairs)} images have no day image, the first is {shown(lacking[0])}; expected "
      f"rows 'night image,day image' in {root / layout.corresp}/**/*.csv, and the day images in "
      f"{root / layout.days}.",
    )
  return [pair._replace(day=day_of[_key(pair.image.name, endings)]) for pair in pairs]
