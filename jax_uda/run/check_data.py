"""A look at the data of a run before it starts: what is there, what is wrong, and what it looks like."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import paths
from jax_uda.data.datasets import base, catalog, image_files
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Examples
from jax_uda.run.report import panels

SHEET_ROWS = 6
SHEET_SIZE = (384, 768)  # bound of a picture in the sheet, pixels
SHOWN_PROBLEMS = 20  # per split; all of them are in the file

# Index -> (name, image uint8 [H,W,3], label uint8 [H,W] of train ids); raises ValueError on bad files.
Read = Callable[[int], tuple[str, np.ndarray, np.ndarray]]


@dataclasses.dataclass
class Findings:
  """What is in one split.

  Attributes:
    number: Of pairs, readable or not.
    sizes: (height, width) -> number of images.
    pixels: [C] int64 of each class.
    ignored: Pixels that are no class.
    problems: One sentence for each file that cannot be used.
    samples: (name, image, label) of some, reduced to `SHEET_SIZE`.
  """

  number: int
  sizes: collections.Counter
  pixels: np.ndarray
  ignored: int
  problems: list[str]
  samples: list[tuple[str, np.ndarray, np.ndarray]]


def reader(builder: base.Builder, split: str) -> tuple[int, Read]:
  """The number of pairs of a split, and how to read one: the files if there are any.

  A data set that is drawn, or prepared and its files are gone, is read from what has been prepared.
  """
  pairs = builder.find_pairs()
  if pairs is not None:
    return len(pairs[split]), lambda i: _read_files(builder, pairs[split][i])
  examples = Examples(base.prepare(builder), split, fields=("image", "label"))
  return len(examples), lambda i: (f"number {i}", examples[i]["image"], examples[i]["label"])


def _read_files(builder: base.Builder, pair: Any) -> tuple[str, np.ndarray, np.ndarray]:
  image, label = builder.read(pair)
  if day := getattr(pair, "day", None):
    image_files.read_image(day)  # whether it can be read
  return pair.image.name, image, label


def _reduced(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  size = rescale.keep_ratio_size(label.shape, SHEET_SIZE)
  if size[0] >= label.shape[0]:
    return image, label
  return rescale.resize_image(image, size), rescale.resize_label(label, size)


def scan(number: int, read: Read, num_classes: int, *, title: str = "") -> Findings:
  """Reads all pairs, on all cores, and counts; a bad file is noted and the scan goes on."""
  found = Findings(number, collections.Counter(), np.zeros(num_classes, np.int64), 0, [], [])
  chosen = set(np.linspace(0, number - 1, min(SHEET_ROWS, number)).round().astype(int).tolist())

  def look(index: int):
    try:
      name, image, label = read(index)
    except ValueError as error:
      return str(error)
    counts = np.bincount(label.ravel(), minlength=256)
    sample = (name, *_reduced(image, label)) if index in chosen else None
    return label.shape, counts, sample

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    looks = tqdm(pool.map(look, range(number)), title, number, unit=" pairs", mininterval=0.5)
    for result in looks:
      if isinstance(result, str):
        found.problems.append(result)
        continue
      size, counts, sample = result
      found.sizes[size] += 1
      found.pixels += counts[:num_classes]
      found.ignored += int(counts[num_classes:].sum())
      if sample:
        found.samples.append(sample)
  return found


def overlay(image: np.ndarray, label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [H,W,3]: the image under the colours of its label; ignored pixels stay as they are."""
  mixed = (image.astype(np.uint16) + panels.colorize(label, label_space)) // 2
  return np.where((label == IGNORE)[..., None], image, mixed).astype(np.uint8)


def contact_sheet(path: pathlib.Path, found: Findings, label_space: LabelSpace, title: str) -> None:
  """Draws image, overlay and label of the samples, with a legend; nothing if there are none.

  Raises:
    ImportError: matplotlib is not installed.
  """
  if not found.samples:
    return
  names, images, labels = zip(*found.samples, strict=True)
  short = lambda name: name if len(name) <= 24 else f"…{name[-23:]}"
  columns = {
    "image": images,
    "label over image": [
      overlay(image, label, label_space) for image, label in zip(images, labels, strict=True)
    ],
    "label": labels,
  }
  panels.draw(path, columns, label_space, title=title, row_names=[short(name) for name in names])


def describe(title: str, found: Findings, label_space: LabelSpace) -> str:
  """The findings as text: pairs, sizes, problems, and classes that never occur."""
  listed = found.sizes.most_common(4)
  sizes = ", ".join(f"{number} of {height}x{width}" for (height, width), number in listed)
  more = len(found.sizes) - len(listed)
  lines = [f"{title}: {found.number} pairs; {sizes or 'none can be read'}"]
  if more:
    lines[0] += f" and {more} more sizes"
  total = found.pixels.sum()
  if not total and found.sizes:
    lines.append("  no labelled pixels")
  elif total:
    ignored = 100 * found.ignored / (total + found.ignored)
    lines.append(f"  {ignored:.1f} % of the pixels are ignored")
    absent = [name for name, n in zip(label_space.names, found.pixels, strict=True) if not n]
    if absent:
      lines.append(f"  never occurs: {', '.join(absent)}")
  if found.problems:
    lines.append(f"  {len(found.problems)} pairs cannot be used:")
    lines += [f"    {problem}" for problem in found.problems[:SHOWN_PROBLEMS]]
    if len(found.problems) > SHOWN_PROBLEMS:
      lines.append(f"    and {len(found.problems) - SHOWN_PROBLEMS} more")
  return "\n".join(lines)


def shares(findings: Mapping[str, Findings], names: Sequence[str]) -> str:
  """A table of the share of each class in the labelled pixels of each split, in per cent."""
  columns = list(findings)
  width = max(len(name) for name in (*names, "class"))
  line = lambda first, cells: (
    f"{first:{width}}  "
    + "  ".join(f"{cell:>{len(column)}}" for cell, column in zip(cells, columns, strict=True))
  )
  share = lambda found, c: (
    f"{100 * found.pixels[c] / found.pixels.sum():.2f}" if found.pixels.any() else "–"
  )
  rows = [line("class", columns)]
  rows += [line(name, [share(f, c) for f in findings.values()]) for c, name in enumerate(names)]
  return "\n".join(rows)


def _splits(name: str, builder: base.Builder) -> list[str]:
  """What a run reads of a data set; those for evaluation alone may have no `train`."""
  wanted = ["train", "val"] if name in ("source", "target") else ["val"]
  known = builder.find_pairs()
  if known is None:
    known = tfds.builder_from_directory(base.prepare(builder)).info.splits
  return [split for split in wanted if split in known]


def check(
  data: Mapping[str, Any],
  workdir: pathlib.Path,
  targets: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
) -> dict[str, Findings]:
  """Reads all data of a run, prints what is there and draws `check_<domain>_<split>.png`.

  Args:
    data: The config group `data`.
    workdir: Gets the pictures, and `check_problems.txt` if there are any. Made if missing.
    targets: The config group `eval.targets`.

  Returns:
    The findings by `<domain> <split>`.

  Raises:
    ValueError: The config is wrong, source and target have different classes, or files cannot be
      used: after everything has been looked at.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  data_dir = paths.as_path(data["dir"], "config.data.dir")
  builders = {
    domain: catalog.find_builder(data[domain], data_dir, f"data.{domain}")
    for domain in ("source", "target")
  }
  builders |= {
    name: catalog.find_builder(targets[name], data_dir, f"eval.targets.{name}") for name in targets
  }
  space = builders["source"].label_space
  findings = {}
  for domain, builder in builders.items():
    for split in _splits(domain, builder):
      title = f"{domain} {split}"
      number, read = reader(builder, split)
      found = findings[title] = scan(number, read, builder.label_space.num_classes, title=title)
      print(describe(title, found, builder.label_space), flush=True)
      path = workdir / f"check_{domain}_{split}.png"
      try:
        contact_sheet(path, found, builder.label_space, f"{builder.name}: {title}")
        print(f"  pictures: {path}" if found.samples else "  no pictures", flush=True)
      except ImportError as error:
        print(f"  no pictures: {error}", flush=True)
  for domain, builder in builders.items():
    field = "data.target" if domain == "target" else f"eval.targets.{domain}"
    catalog.check_same_classes(space, builder.label_space, field)
  print(f"\nshare of the labelled pixels, %\n{shares(findings, space.names)}", flush=True)
  missing = _missing_folders(list(builders.values()))
  _report_problems(missing, findings, workdir / "check_problems.txt")
  return findings


def _missing_folders(builders: Sequence[base.Builder]) -> list[str]:
  """One sentence for each data set of files that lacks a folder."""
  found = []
  for builder in builders:
    try:
      if builder.find_pairs() is not None:
        builder.check_folders()
    except ValueError as error:
      found.append(str(error))
  return found


def _report_problems(
  missing: Sequence[str], findings: Mapping[str, Findings], path: pathlib.Path
) -> None:
  problems = [text for found in findings.values() for text in found.problems]
  path.unlink(missing_ok=True)
  if missing or problems:
    path.write_text("\n".join([*missing, *problems]) + "\n")
  if missing:
    raise ValueError(" ".join(missing))
  if problems:
    number = sum(found.number for found in findings.values())
    raise ValueError(f"{len(problems)} of {number} pairs cannot be used; all are named in {path}.")
