"""A look at the data of a run before it starts: what is there, what is wrong, and what it looks like.

`scan` counts; `findings` puts numbers into words; `check` prints, draws and raises.
"""

import collections
import concurrent.futures
import os
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import paths, registry
from jax_uda.data.datasets import base, catalog, image_files
from jax_uda.data.datasets.from_files import FromFiles
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import LabelledExamples
from jax_uda.data.roles import Role
from jax_uda.run import findings as findings_lib
from jax_uda.run.findings import Findings
from jax_uda.run.report import panels

SHEET_ROWS = 6
SHEET_SIZE = (384, 768)  # bound of a picture in the sheet, in pixels

# Index -> (name, image uint8 [H,W,3], label uint8 [H,W] of train ids); raises ValueError on bad files.
Read = Callable[[int], tuple[str, np.ndarray, np.ndarray]]


class Described(NamedTuple):
  """A data set of a run.

  Attributes:
    name: `source`, `target`, or the name of a further target.
    builder: The data set.
    path: Where the config describes it, for errors.
    splits: The splits that a run reads.
  """

  name: str
  builder: base.Builder
  path: tuple[str, ...]
  splits: Sequence[str]


def reader(builder: base.Builder, split: str) -> tuple[int, Read]:
  """The number of examples of a split, and a function that reads one: from the files if there are any.

  A data set that is drawn, or that is prepared and its files are gone, is read as it was prepared.
  """
  if isinstance(builder, FromFiles):
    splits = builder.find_pairs()
    if splits is not None:
      pairs = splits[split]
      return len(pairs), lambda i: _read_files(builder, pairs[i])
  examples = LabelledExamples(base.prepare(builder), split)
  return len(examples), lambda i: (f"number {i}", examples[i]["image"], examples[i]["label"])


def _read_files(builder: FromFiles, pair: Pair) -> tuple[str, np.ndarray, np.ndarray]:
  image, label = builder.read(pair)
  if pair.day:
    image_files.read_image(pair.day)  # whether it can be read
  return pair.image.name, image, label


def _reduced(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  height, width = label.shape
  size = rescale.keep_ratio_size((height, width), SHEET_SIZE)
  if size[0] >= height:
    return image, label
  return rescale.resize_image(image, size), rescale.resize_label(label, size)


def scan(number: int, read: Read, num_classes: int, *, title: str = "") -> Findings:
  """Reads all examples on all cores and counts. A bad file is noted, and the scan goes on.

  Args:
    number: The number of examples.
    read: Reads the example of an index.
    num_classes: The number of classes C.
    title: The title of the progress bar.
  """
  findings = Findings(number, np.zeros(num_classes, np.int64), collections.Counter(), 0)
  chosen = set(np.linspace(0, number - 1, min(SHEET_ROWS, number)).round().astype(int).tolist())

  def look(index: int):
    try:
      name, image, label = read(index)
    except ValueError as error:
      return str(error)
    counts = np.bincount(label.ravel(), minlength=256)
    sample = (name, *_reduced(image, label)) if index in chosen else None
    return (label.shape[0], label.shape[1]), counts, sample

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    looks = tqdm(pool.map(look, range(number)), title, number, unit=" pairs", mininterval=0.5)
    for result in looks:
      if isinstance(result, str):
        findings.problems.append(result)
        continue
      size, counts, sample = result
      findings.sizes[size] += 1
      findings.pixels += counts[:num_classes]
      findings.ignored = (findings.ignored or 0) + int(counts[num_classes:].sum())
      if sample:
        findings.samples.append(sample)
  return findings


def overlay(image: np.ndarray, label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [H,W,3]: the image under the colours of its label; ignored pixels stay as they are."""
  mixed = (image.astype(np.uint16) + panels.colorize(label, label_space)) // 2
  return np.where((label == IGNORE)[..., None], image, mixed).astype(np.uint8)


def contact_sheet(
  path: pathlib.Path, findings: Findings, label_space: LabelSpace, title: str
) -> None:
  """Draws image, overlay and label of the samples, with a legend; nothing if there are none.

  Raises:
    ImportError: matplotlib is not installed.
  """
  if not findings.samples:
    return
  names, images, labels = zip(*findings.samples, strict=True)
  short = lambda name: name if len(name) <= 24 else f"…{name[-23:]}"
  columns = {
    "image": images,
    "label over image": [
      overlay(image, label, label_space) for image, label in zip(images, labels, strict=True)
    ],
    "label": labels,
  }
  panels.draw(path, columns, label_space, title=title, row_names=[short(name) for name in names])


def _find_data_sets(
  data: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]]
) -> Iterator[Described]:
  """All data sets of a run; raises SettingError for a wrong description."""
  with registry.within("config", "data"):
    data_dir = paths.as_path(data["dir"], "dir")
  described: list[tuple[str, Mapping[str, Any], Role, tuple[str, ...]]] = [
    ("source", data["source"], Role.SOURCE, ("config", "data", "source")),
    ("target", data["target"], Role.TARGET, ("config", "data", "target")),
  ]
  for name in targets:
    path = ("config", "eval", "targets", name)
    described.append((name, targets[name], Role.EVALUATION, path))
  for name, spec, role, path in described:
    with registry.within(*path):
      builder = catalog.find_builder(spec, data_dir, role)
      splits = builder.find_pairs()
      if splits is None:
        splits = tfds.builder_from_directory(base.prepare(builder)).info.splits
    wanted = ("train", "val") if role.is_trained_on else ("val",)
    # A set that serves evaluation only has no `train`.
    yield Described(name, builder, path, [split for split in wanted if split in splits])


def check(
  data: Mapping[str, Any],
  workdir: pathlib.Path,
  targets: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
) -> dict[str, Findings]:
  """Reads all data of a run, prints what is there and draws `check_<name>_<split>.png`.

  Args:
    data: The config group `data`.
    workdir: The folder for the pictures, and for `check_problems.txt` if there are problems. Made if
      missing.
    targets: The config group `eval.targets`.

  Returns:
    The findings by `<name> <split>`.

  Raises:
    ValueError: The config is wrong, data sets have different classes, or files cannot be used. The
      last two are raised after everything has been looked at.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  data_sets = list(_find_data_sets(data, targets))
  label_space = data_sets[0].builder.label_space
  findings = {}
  for data_set in data_sets:
    for split in data_set.splits:
      title = f"{data_set.name} {split}"
      findings[title] = _scan_split(data_set, split, title)
      _show(data_set, findings[title], title, workdir)
  for data_set in data_sets[1:]:
    with registry.within(*data_set.path):
      catalog.check_same_classes(label_space, data_set.builder.label_space)
  table = findings_lib.shares(findings, label_space.names)
  print(f"\nshare of the labelled pixels, %\n{table}", flush=True)
  _report_problems(_missing_folders(data_sets), findings, workdir / "check_problems.txt")
  return findings


def _scan_split(data_set: Described, split: str, title: str) -> Findings:
  with registry.within(*data_set.path):
    number, read = reader(data_set.builder, split)
    return scan(number, read, data_set.builder.label_space.num_classes, title=title)


def _show(data_set: Described, findings: Findings, title: str, workdir: pathlib.Path) -> None:
  """Prints what is in a split, and draws its samples where matplotlib is installed."""
  builder = data_set.builder
  print(findings_lib.describe(title, findings, builder.label_space), flush=True)
  path = workdir / f"check_{title.replace(' ', '_')}.png"
  try:
    contact_sheet(path, findings, builder.label_space, f"{builder.name}: {title}")
    print(f"  pictures: {path}" if findings.samples else "  no pictures", flush=True)
  except ImportError as error:
    print(f"  no pictures: {error}", flush=True)


def _missing_folders(data_sets: Sequence[Described]) -> list[str]:
  """One sentence per data set that lacks a folder of labels."""
  problems = []
  for data_set in data_sets:
    builder = data_set.builder
    try:
      with registry.within(*data_set.path):
        if isinstance(builder, FromFiles) and builder.find_pairs() is not None:
          builder.check_folders()
    except ValueError as error:
      problems.append(str(error))
  return problems


def _report_problems(
  missing: Sequence[str], findings: Mapping[str, Findings], path: pathlib.Path
) -> None:
  """Writes all problems to `path`; raises ValueError if there are any."""
  problems = [problem for split in findings.values() for problem in split.problems]
  path.unlink(missing_ok=True)
  if missing or problems:
    path.write_text("\n".join([*missing, *problems]) + "\n")
  if missing:
    raise ValueError(" ".join(missing))
  if problems:
    number = sum(split.number for split in findings.values())
    raise ValueError(f"{len(problems)} of {number} pairs cannot be used; all are named in {path}.")
