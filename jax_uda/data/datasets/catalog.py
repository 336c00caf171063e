"""Data sets by name, and the two domains of a run.

One dict describes a domain with its splits `train` and `val`; all but `name` are arguments of the data
set's `builder` function:

  dict(name="streets", domain="day", seed=0, size=(96, 128), num_train=800, num_val=200)
  dict(name="camvid", path="~/camvid", train=("train/0006R0", "train/0016E5"), val=("val",))
  dict(name="camvid", path="~/camvid", train=("train/0001TP",), val=("test/0001TP",), size=(120, 160))
  dict(name="gta5", path="/data/gta5", size=(720, 1280)), and likewise synthia, cityscapes, dark_zurich,
    acdc, nighttime_driving, bdd100k, mapillary
  dict(name="folders", path="~/mine", train=("a/images", "a/labels"), val=(…), classes=("crop", "weed"))
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.data.datasets import base, camvid, folders, public, streets
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import class_stats
from jax_uda.data.pipeline.examples import Examples

BUILDERS: dict[str, Callable[..., base.Builder]] = {
  "camvid": camvid.builder,
  "folders": folders.builder,
  "streets": streets.builder,
  **public.BUILDERS,
}

RESERVED_NAMES = ("source", "target", "step", "checkpoint")  # of results.json


@dataclasses.dataclass(frozen=True, eq=False)
class Domains:
  """The data of a run.

  Attributes:
    label_space: The classes of both domains.
    class_frequency: C shares in [0, 1], of each class in the labelled pixels of `source_train`.
    source_train: `image` and `label`, with `class_counts`.
    target_train: `image`, and `day_image` where the data set has it; labels of the target do not reach training.
    source_val: `image` and `label`.
    target_val: `image` and `label`, for evaluation.
  """

  label_space: LabelSpace
  class_frequency: tuple[float, ...]
  source_train: Examples
  target_train: Examples
  source_val: Examples
  target_val: Examples


def find_builder(spec: Mapping[str, Any], data_dir: Path, field: str) -> base.Builder:
  """The builder of the data set that `spec` describes.

  Args:
    spec: `name` and the arguments of that data set.
    data_dir: Folder of all prepared data sets, or a bucket that they are copied to and from.
    field: Where `spec` stands in the config, for messages.

  Raises:
    ValueError: The name or an argument is unknown or missing, or files are not as they must be.
  """
  arguments = dict(spec)
  make = registry.lookup(BUILDERS, arguments.pop("name", ""), f"{field}.name")
  try:
    return registry.call(functools.partial(make, data_dir, field), field, **arguments)
  except TypeError as error:
    raise ValueError(f"config.{field} does not fit its data set: {error}.") from None


def class_counts(folder: pathlib.Path, split: str, num_classes: int) -> np.ndarray:
  """[N,C] int64 pixels of each class in each label of a prepared data set; computed once."""
  path = folder / f"class_counts_{split}.npy"
  if path.exists():
    return np.load(path)
  labels = Examples(folder, split, fields=("label",))
  count = lambda label: np.bincount(label.ravel(), minlength=256)[:num_classes]
  counts = np.stack([count(example["label"]) for example in labels]).astype(np.int64)
  temporary = folder / f"{path.stem}.{os.getpid()}.tmp.npy"
  np.save(temporary, counts)
  os.replace(temporary, path)
  return counts


def _source_counts(builder: base.Builder, folder: pathlib.Path) -> np.ndarray:
  """[N,C] int64 pixels of each class in each training label, or what the user's file says."""
  if not builder.class_stats:
    return class_counts(folder, "train", builder.label_space.num_classes)
  names = json.loads((folder / "names_train.json").read_text())
  path = paths.as_path(builder.class_stats, "config.data.source.class_stats")
  return class_stats.read(path, names, builder.label_space)


def check_same_classes(source: LabelSpace, other: LabelSpace, field: str = "data.target") -> None:
  """Raises ValueError unless `config.<field>` has the class names of the source, in the same order."""
  if source.names != other.names:
    raise ValueError(
      f"config.data.source has the classes of {source.name}, config.{field} those of {other.name}; "
      "choose data sets with the same classes."
    )


def load_domains(data: Mapping[str, Any], data_dir: Path) -> Domains:
  """The domains that the config group `data` describes; prepares what is not there yet.

  Args:
    data: `source` and `target` (see above), and `cache_mbytes`: the memory for decoded training images
      of each domain.
    data_dir: Folder of all prepared data sets, or a bucket that they are copied to and from.

  Raises:
    ValueError: As in `find_builder`, or the domains have different classes.
  """
  builders = {
    domain: find_builder(data[domain], data_dir, f"data.{domain}")
    for domain in ("source", "target")
  }
  space, other = (builder.label_space for builder in builders.values())
  check_same_classes(space, other)
  target_fields = tuple(
    name for name in ("image", "day_image") if name in builders["target"].info.features
  )
  source, target = (base.prepare(builder) for builder in builders.values())
  counts = _source_counts(builders["source"], source)
  if not counts.any():
    raise ValueError(
      "config.data.source: its training images have no labelled pixel to learn from."
    )
  shares = counts.sum(0) / counts.sum()
  both, cache = ("image", "label"), {"cache_bytes": data["cache_mbytes"] * 2**20}
  return Domains(
    label_space=space,
    class_frequency=tuple(shares.tolist()),
    source_train=Examples(source, "train", fields=both, class_counts=counts, **cache),
    target_train=Examples(target, "train", fields=target_fields, **cache),
    source_val=Examples(source, "val", fields=both),
    target_val=Examples(target, "val", fields=both),
  )


def load_evaluation(
  specs: Mapping[str, Mapping[str, Any]], data_dir: Path, label_space: LabelSpace
) -> dict[str, Examples]:
  """The validation images and labels of `config.eval.targets`; prepares what is not there yet.

  Args:
    specs: Name -> description as of a domain.
    data_dir: Folder of all prepared data sets, or a bucket that they are copied to and from.
    label_space: Their classes, those of the run.

  Raises:
    ValueError: A name is taken, a data set has other classes, or as in `find_builder`.
  """
  found = {}
  for name in specs:
    field = f"eval.targets.{name}"
    if name in RESERVED_NAMES:
      raise ValueError(f"config.{field}: the name is taken; choose another.")
    builder = find_builder(specs[name], data_dir, field)
    check_same_classes(label_space, builder.label_space, field)
    found[name] = Examples(base.prepare(builder), "val", fields=("image", "label"))
  return found
