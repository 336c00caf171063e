"""Class counts of source images as the reference pipelines store them: `sample_class_stats.json`."""

import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

# What data sets put behind the name that an image and its label share.
_ENDING = re.compile(
  r"(_leftImg8bit|_rgb_anon|(_gtFine|_gtCoarse|_gt)?(_labelTrainIds|_labelIds)?)\.\w+$"
)


def key(path: str) -> str:
  """What the file names of an image and its label share."""
  return _ENDING.sub("", pathlib.PurePath(path).name)


def read(path: pathlib.Path, names: Sequence[str], num_classes: int) -> np.ndarray:
  """[N,C] int64 pixels of each class in the labels of these images.

  Args:
    path: `sample_class_stats.json`, a list of `{"<class>": pixels, …, "file": label file}`, or
      `sample_class_stats_dict.json`, label file -> `{"<class>": pixels, …}`; counted at full size.
    names: File names of N images, found by their names without folders and endings.
    num_classes: C.

  Raises:
    ValueError: The file is missing or holds something else, or lacks an image.
  """
  try:
    stats = json.loads(path.read_text())
    if isinstance(stats, list):
      stats = {entry["file"]: entry for entry in stats}
    rows = {
      key(file): {int(c): int(n) for c, n in row.items() if c != "file"}
      for file, row in stats.items()
    }
    known = all(0 <= c < num_classes for row in rows.values() for c in row)
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f"{path} cannot be read as class statistics: {error!r}.") from None
  if not known:
    raise ValueError(f"{path} has classes that are not in 0..{num_classes - 1}.")
  lacking = [name for name in names if key(name) not in rows]
  if lacking:
    raise ValueError(
      f"{path} lacks {len(lacking)} of {len(names)} images, the first: {lacking[0]}."
    )
  return np.array([[rows[key(name)].get(c, 0) for c in range(num_classes)] for name in names])
