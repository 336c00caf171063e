"""Data sets by name, and the two domains of a run.

A dict describes a data set with its splits `train` and `val`; all but `name` are arguments of the data set's
builder function:

  dict(name="streets", domain="day", seed=0, size=(96, 128), num_train=800, num_val=200)
  dict(name="camvid", path="~/camvid", train=("train/0006R0", "train/0016E5"), val=("val",))
  dict(name="camvid", path="~/camvid", train=("train/0001TP",), val=("test/0001TP",), size=(120, 160))
  dict(name="gta5", path="/data/gta5", size=(720, 1280)); the same for synthia, synscapes, cityscapes,
    dark_zurich, acdc, nighttime_driving, bdd100k, mapillary and wilddash2
  dict(name="folders", path="~/mine", train=("a/images", "a/labels"), val=(…), classes=("crop", "weed"))
  dict(name="my_module:farm", path="~/farm"); a builder function of one's own, see `from_layout.DataSet`
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.common import files, paths, registry, state_files
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import (
  base,
  camvid,
  disk,
  folders,
  from_layout,
  seal,
  sources,
  stores,
  streets,
)
from jax_uda.data.datasets.layouts import LAYOUTS
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import class_stats, several
from jax_uda.data.pipeline.examples import Examples, LabelledExamples, TargetExamples
from jax_uda.data.roles import Role

# (folder of prepared data sets, role, **arguments of the data set) -> its builder.
MakeBuilder = Callable[..., base.Builder]

BUILDERS: dict[str, MakeBuilder] = {
  "camvid": camvid.builder,
  "folders": folders.builder,
  "streets": streets.builder,
  **{name: from_layout.DataSet(name, layout, digest=False) for name, layout in LAYOUTS.items()},
}

DATA_DIR = "~/.cache/jax_uda"  # where prepared data sets are kept unless a config says otherwise
RESERVED_NAMES = (
  "source",
  "target",
  "step",
  "checkpoint",
  "last",
  "label_size",
  "absent_classes",
)  # keys of results.json


@dataclasses.dataclass(frozen=True, eq=False)
class Domains:
  """The data of a run.

  Attributes:
    label_space: The classes of both domains.
    class_frequency: C shares in [0, 1]: each class's part of the labelled pixels of `source_train`.
    source_train: Labelled training images of the source, with class counts.
    target_train: Training images of the target. Their labels are not read.
    source_val: Labelled validation images of the source.
    target_val: Labelled validation images of the target, of several the first's, for evaluation.
    identities: What the data sets "source" and "target", and of several "sources.1" and so on, were made of;
      None of one that is drawn.
    reading: How image files of the target are read: bands and range of values, as the data set was
      prepared.
    image_bound: (height, width) into which images of the target are fitted; None: they keep their size.
  """

  label_space: LabelSpace
  class_frequency: tuple[float, ...]
  source_train: LabelledExamples
  target_train: TargetExamples
  source_val: LabelledExamples
  target_val: LabelledExamples
  identities: Mapping[str, sources.Identity | None] = dataclasses.field(default_factory=dict)
  reading: Reading = Reading()
  image_bound: tuple[int, int] | None = None


def find_builder(
  spec: Mapping[str, Any], data_dir: Path, role: Role, store: str = "auto"
) -> base.Builder:
  """The builder of the data set that `spec` describes.

  Args:
    spec: `name` and the arguments of that data set. A name "module:name" stands for a builder function
      of one's own.
    data_dir: The folder of all prepared data sets, or a bucket that they are copied to and from.
    role: What the data set is used for, which decides what is read of it.
    store: How files are stored (`stores.STORES`) where `spec` does not say so itself.

  Raises:
    SettingError: The name or an argument is unknown or missing, or files are not as they must be.
  """
  arguments = dict(spec)
  name = arguments.pop("name", "")
  arguments.pop("share", None)  # of several sets, see `load_domains`
  if ":" in name:
    make = registry.imported(name, ("name",))
  else:
    make = registry.lookup(BUILDERS, name, ("name",))
  if (
    store != "auto" and "store" in inspect.signature(make).parameters
  ):  # drawn data sets have no files
    arguments.setdefault("store", store)
  try:
    return registry.call(functools.partial(make, data_dir, role), (), **arguments)
  except TypeError as error:
    raise SettingError((), f"does not fit its data set: {error}.") from None


def class_counts(folder: pathlib.Path, split: str, num_classes: int) -> np.ndarray:
  """[N,C] int64 pixels of each class in each label of a prepared data set; computed once."""
  path = folder / f"class_counts_{split}.npy"
  if path.exists():
    return _read_counts(path, num_classes)
  labels = Examples(folder, split, fields=("label",))
  count = lambda label: np.bincount(label.ravel(), minlength=256)[:num_classes]
  counts = np.stack([count(example["label"]) for example in labels]).astype(np.int64)
  with contextlib.suppress(OSError):  # the folder may be read-only: then they are counted each time
    with files.replacing(path) as temporary, temporary.open("wb") as file:
      np.save(file, counts)
    seal.write(folder)
  return counts


def _read_counts(path: pathlib.Path, num_classes: int) -> np.ndarray:
  """The stored class counts; `base.prepare` has compared their checksum before."""
  try:
    counts = np.load(path, allow_pickle=False)
    fits = counts.ndim == 2 and counts.shape[1] == num_classes
  except (ValueError, EOFError) as error:
    raise seal.DamagedDataError(path.parent, path.name, f"it cannot be read: {error}") from None
  if not fits:
    problem = f"its shape is {counts.shape}, for {num_classes} classes"
    raise seal.DamagedDataError(path.parent, path.name, problem)
  return counts


def _training_counts(builder: base.Builder, folder: pathlib.Path) -> np.ndarray:
  """[N,C] int64 pixels of each class in each training label, or the counts in the user's file."""
  if not builder.class_stats:
    return class_counts(folder, "train", builder.label_space.num_classes)
  purpose = "it lists the images; the same command with --repair prepares the data set again"
  names = state_files.read_json(folder / "names_train.json", list, purpose)
  path = paths.as_path(builder.class_stats, "class_stats")
  return class_stats.read(path, names, builder.label_space)


def check_same_classes(source: LabelSpace, other: LabelSpace) -> None:
  """Raises SettingError unless `other` has the class names of the source, in the same order."""
  if source.names != other.names:
    raise SettingError(
      (),
      f"has the classes of {other.name}, the source those of {source.name}; choose data sets with the "
      "same classes.",
    )


def load_domains(
  source: Mapping[str, Any],
  target: Mapping[str, Any],
  *,
  data_dir: str | os.PathLike[str] = DATA_DIR,
  cache_mbytes: int = 1024,
  store: str = "auto",
  beside: Sequence[base.Builder] = (),
  more_sources: Sequence[Mapping[str, Any]] = (),
  more_targets: Sequence[Mapping[str, Any]] = (),
) -> Domains:
  """The two domains of a run; prepares data sets that are not there yet.

  Args:
    source: The description of the source data set, a dict as this module's docstring shows.
    target: The description of the target data set.
    data_dir: The folder of all prepared data sets, or a bucket that they are copied to and from.
    cache_mbytes: The memory for decoded training images of each domain, in units of 2^20 bytes.
    store: How files are stored: "resized", "original", or "auto", which keeps the form that is
      prepared and else takes the smaller one (`stores`).
    beside: Further data sets that will be prepared after these; room for them is checked, too.
    more_sources: Further labelled data sets. Each is drawn as often as it has images or, if all sets have
      a field `share`, in proportion to it; rare classes are drawn with the statistics of each set.
    more_targets: Further unlabelled data sets, drawn likewise. They are not in `target_val`.

  Raises:
    SettingError: A description is wrong (the path begins with the field), the domains
      have different classes, or the disk is too small for what has to be prepared.
    ValueError: Files cannot be used, or have changed since they were prepared.
  """
  place = paths.as_path(data_dir, "data_dir")
  registry.lookup(dict.fromkeys(stores.STORES), store, "store")
  source_sets = _find_sets("source", (source, *more_sources), place, Role.SOURCE, store)
  target_sets = _find_sets("target", (target, *more_targets), place, Role.TARGET, store)
  label_space = source_sets[0].builder.label_space
  for each in (*source_sets, *target_sets):
    with registry.within(*each.path):
      check_same_classes(label_space, each.builder.label_space)
  for each in (*source_sets, *target_sets):
    with registry.within(*each.path):
      each.builder.find_pairs()  # what is missing is named before anything takes time
  disk.check_space([each.builder for each in (*source_sets, *target_sets)] + [*beside])
  cache_bytes = lambda sets: cache_mbytes * 2**20 // len(sets)
  identities, counts, source_train, source_val, target_train = {}, [], [], [], []
  for each in source_sets:
    with registry.within(*each.path):
      folder = base.prepare(each.builder)
      counts.append(_labelled_counts(each.builder, folder))
      options = {"class_counts": counts[-1], "cache_bytes": cache_bytes(source_sets)}
      source_train.append(LabelledExamples(folder, "train", **options))
      source_val.append(LabelledExamples(folder, "val"))
      identities[".".join(each.path)] = sources.identity(folder)
  for each in target_sets:
    with registry.within(*each.path):
      folder = base.prepare(each.builder)
      identities[".".join(each.path)] = sources.identity(folder)
      target_train.append(TargetExamples(folder, cache_bytes=cache_bytes(target_sets)))
  first_target = target_sets[0].builder
  with registry.within(*target_sets[0].path):
    target_val = LabelledExamples(base.prepare(first_target), "val")
  totals = np.sum([count.sum(0) for count in counts], 0)
  return Domains(
    label_space=label_space,
    class_frequency=tuple((totals / totals.sum()).tolist()),
    source_train=several.join(source_train, _shares(source_sets)),
    target_train=several.join(target_train, _shares(target_sets)),
    source_val=several.join(source_val),
    target_val=target_val,
    identities=identities,
    reading=first_target.reading,
    image_bound=first_target.image_bound,
  )


class _Set(NamedTuple):
  """A data set of a domain: the path of its field, its builder, and its share if it has one."""

  path: tuple[str, ...]
  builder: base.Builder
  share: float | None


def _find_sets(
  domain: str, specs: Sequence[Mapping[str, Any]], place: Path, role: Role, store: str
) -> list[_Set]:
  """The data sets of a domain; the first is the field `source` or `target`.

  Raises:
    SettingError: A description is wrong.
  """
  sets = []
  for number, spec in enumerate(specs):
    path = (f"{domain}s", str(number)) if number else (domain,)
    with registry.within(*path):
      share = spec.get("share")
      if share is not None and not share > 0:
        raise SettingError("share", f"= {share} must be > 0.")
      sets.append(_Set(path, find_builder(spec, place, role, store), share))
  if len({each.share is None for each in sets}) > 1:
    raise SettingError(
      f"{domain}s", ": give each data set a share, or none of them: then their sizes count."
    )
  return sets


def _shares(sets: Sequence[_Set]) -> list[float] | None:
  shares = [each.share for each in sets if each.share is not None]
  return shares or None


def _labelled_counts(builder: base.Builder, folder: pathlib.Path) -> np.ndarray:
  """[N,C] pixels of each class in the training labels of a source; raises SettingError without any."""
  counts = _training_counts(builder, folder)
  if not counts.any():
    raise SettingError((), ": its training images have no labelled pixel to learn from.")
  if not builder.class_stats:
    builder.check_classes(counts)
  return counts


def load_evaluation(
  specs: Mapping[str, Mapping[str, Any]],
  data_dir: Path,
  label_space: LabelSpace,
  store: str = "auto",
) -> dict[str, LabelledExamples]:
  """Labelled validation images of further data sets; prepares those that are not there yet.

  Args:
    specs: The description of each data set, by the name of its scores.
    data_dir: The folder of all prepared data sets, or a bucket that they are copied to and from.
    label_space: The classes of the run.
    store: As in `load_domains`.

  Raises:
    SettingError: A name is reserved, a data set has other classes, or a description is wrong; the path
      begins with the name.
  """
  examples = {}
  for name in specs:
    with registry.within(name):
      if name in RESERVED_NAMES:
        raise SettingError((), ": the name is taken; choose another.")
      builder = find_builder(specs[name], data_dir, Role.EVALUATION, store)
      check_same_classes(label_space, builder.label_space)
      examples[name] = LabelledExamples(base.prepare(builder), "val")
  return examples
