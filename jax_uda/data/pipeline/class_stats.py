"""Class counts of source images, as the reference pipelines store them in `sample_class_stats.json`."""

import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from jax_uda.common.paths import Path
from jax_uda.data import label_spaces
from jax_uda.data.label_spaces import LabelSpace

# The endings of files, behind the name that an image and its label share.
_ENDING = re.compile(
  r"(_leftImg8bit|_rgb_anon|(_gtFine|_gtCoarse|_gt)?(_labelTrainIds|_labelIds)?)\.\w+$"
)


def key(path: str) -> str:
  """The part of a file name that an image and its label share."""
  return _ENDING.sub("", pathlib.PurePath(path).name)


def read(path: Path, names: Sequence[str], label_space: LabelSpace) -> np.ndarray:
  """Reads the class counts of images.

  Args:
    path: `sample_class_stats.json`, a list of `{"<class>": pixels, …, "file": label file}`, or
      `sample_class_stats_dict.json`, label file -> `{"<class>": pixels, …}`; counted at full size.
      Classes are Cityscapes' 19 train ids, whatever the run's classes are.
    names: The file names of N images; folders and endings are ignored.
    label_space: The classes of the run; counts are added up as labels are translated.

  Returns:
    [N,C] int64 pixels of each class of `label_space` in the label of each image.

  Raises:
    ValueError: The file is missing, holds something else, or lacks an image.
  """
  num_classes = label_spaces.CITYSCAPES19.num_classes
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
  counts = np.array([[rows[key(name)].get(c, 0) for c in range(num_classes)] for name in names])
  return _translated(counts, label_space)


def _translated(counts: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """[N,19] pixels of Cityscapes' classes -> [N,C] pixels of the classes they are translated to."""
  ids = label_spaces.translation(label_spaces.CITYSCAPES19, label_space)[: counts.shape[1]]
  moved = np.zeros((len(counts), label_spaces.IGNORE + 1), np.int64)
  np.add.at(moved.T, ids, counts.T)  # several classes may become one
  return moved[:, : label_space.num_classes]
