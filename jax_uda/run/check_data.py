"""A look at the data of a run before it starts: what is there, what is wrong, and what it looks like.

`scan` counts; `findings` puts numbers into words; `check` prints, draws and raises.
"""

import collections
import concurrent.futures
import os
import pathlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import files, paths, registry
from jax_uda.common.log import say
from jax_uda.data.datasets import base, catalog
from jax_uda.data.datasets.from_files import FromFiles
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.run import data_sets, pair_reader
from jax_uda.run import findings as findings_lib
from jax_uda.run.findings import Findings
from jax_uda.run.pair_reader import Read
from jax_uda.run.report import findings_page, panels

SHEET_ROWS = 6
SHEET_SIZE = (384, 768)  # bound of a picture in the sheet, in pixels
MAX_RATIO = 5  # of the sides of a picture in the sheet
_NOTHING = np.zeros((0, 0), np.uint8)


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


def _reduced(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """An example for the sheet; of a long and narrow one, the middle, as the whole would be a line."""
  sides = [min(side, MAX_RATIO * min(label.shape)) for side in label.shape]
  top, left = ((side - part) // 2 for side, part in zip(label.shape, sides, strict=True))
  middle = np.s_[top : top + sides[0], left : left + sides[1]]
  image, label = image[middle], label[middle]
  size = rescale.keep_ratio_size((sides[0], sides[1]), SHEET_SIZE)
  if size[0] >= sides[0]:
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
  good = []  # indices

  def look(index: int):
    try:
      example = read(index)
    except pair_reader.BadPair as error:
      return error
    size = (example.label.shape[0], example.label.shape[1])
    counts = np.bincount(example.label.ravel(), minlength=256)
    # All examples at once would not fit into memory.
    return example._replace(image=_NOTHING, label=_NOTHING), size, counts

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    looks = tqdm(pool.map(look, range(number)), title, number, unit=" pairs", mininterval=0.5)
    for index, result in enumerate(looks):
      if isinstance(result, pair_reader.BadPair):
        findings.problems.append(str(result))
        findings.pictures.append(result.picture)
        continue
      example, size, counts = result
      good.append(index)
      findings.sizes[size] += 1
      findings.pixels += counts[:num_classes]
      findings.ignored = (findings.ignored or 0) + int(counts[num_classes:].sum())
      findings.num_turned += example.is_turned
      if example.values is not None:
        findings.values.append(example.values)
        findings.top = max(findings.top, example.top)
  for place in np.linspace(0, len(good) - 1, min(SHEET_ROWS, len(good))).round().astype(int):
    example = read(good[place])
    findings.samples.append((example.name, *_reduced(example.image, example.label)))
  return findings


def overlay(image: np.ndarray, label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [H,W,3]: the image under the colors of its label; ignored pixels stay as they are."""
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


def _name(field: tuple[str, ...]) -> str:
  """A data set's name in tables and files: source, sources_1, or that of `eval.targets`."""
  return field[-1] if field[0] == "eval" else "_".join(field[1:])


def _find_data_sets(
  data: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]]
) -> Iterator[Described]:
  """All data sets of a run; raises SettingError for a wrong description."""
  with registry.within("config", "data"):
    data_dir = paths.as_path(data["dir"], "dir")
  for field, spec, role in data_sets.described(data, targets):
    name, path = _name(field), ("config", *field)
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

  Where something is worth a look, `check_<name>_<split>_findings.png` shows it.

  Args:
    data: The config group `data`.
    workdir: The folder for the pictures, and for `check_problems.txt` if there are problems. Made if
      missing.
    targets: The config group `eval.targets`.

  Returns:
    The findings by `<name> <split>`.

  Raises:
    ValueError: The config is wrong, data sets have different classes, a class never occurs in the
      source's training labels, or files cannot be used. All but the first are raised after everything
      has been looked at.
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
  say(f"\nshare of the labelled pixels, %\n{table}")
  missing = _missing_folders(data_sets) + _missing_classes(data_sets, findings)
  _report_problems(missing, findings, workdir / "check_problems.txt")
  return findings


def _scan_split(data_set: Described, split: str, title: str) -> Findings:
  builder = data_set.builder
  with registry.within(*data_set.path):
    number, read = pair_reader.reader(builder, split)
    findings = scan(number, read, builder.label_space.num_classes, title=title)
    if isinstance(builder, FromFiles) and builder.find_pairs() is not None:
      findings.left_out = builder.left_out().get(split, collections.Counter())
    findings.value_range = builder.reading.value_range
  return findings


def _show(data_set: Described, findings: Findings, title: str, workdir: pathlib.Path) -> None:
  """Prints what is in a split, and draws its samples and problems where matplotlib is installed."""
  builder = data_set.builder
  say(findings_lib.describe(title, findings, builder.label_space))
  path = workdir / f"check_{title.replace(' ', '_')}.png"
  page = path.with_stem(f"{path.stem}_findings")
  page.unlink(missing_ok=True)
  try:
    contact_sheet(path, findings, builder.label_space, f"{builder.name}: {title}")
    say(f"  pictures: {path}" if findings.samples else "  no pictures")
    if findings.problems or findings_lib.notes(findings):
      findings_page.draw(page, findings, builder.label_space, f"{builder.name}: {title}")
      say(f"  findings: {page}")
  except ImportError as error:
    say(f"  no pictures: {error}")


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


def _missing_classes(data_sets: Sequence[Described], findings: Mapping[str, Findings]) -> list[str]:
  """One sentence if classes never occur in the training labels of the source."""
  source = data_sets[0]
  pixels = findings[f"{source.name} train"].pixels
  if not pixels.any() or source.builder.class_stats:
    return []
  try:
    with registry.within(*source.path):
      source.builder.check_classes(pixels[None])
  except ValueError as error:
    return [str(error)]
  return []


def _report_problems(
  missing: Sequence[str], findings: Mapping[str, Findings], path: pathlib.Path
) -> None:
  """Writes all problems to `path`; raises ValueError if there are any."""
  problems = [problem for split in findings.values() for problem in split.problems]
  path.unlink(missing_ok=True)
  if missing or problems:
    files.write_atomically(path, "\n".join([*missing, *problems]) + "\n")
  if problems:
    number = sum(split.number for split in findings.values())
    unusable = f"{len(problems)} of {number} pairs cannot be used; all are named in {path}."
    missing = [*missing, unusable]
  if missing:
    raise ValueError(" ".join(missing))
