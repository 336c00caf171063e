"""Preparing a data set from the command line, before a run needs it."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.data.datasets import base, catalog, layouts, shards
from jax_uda.run import arguments as run_arguments
from jax_uda.run import config as config_lib

# Data set -> arguments that `--dataset=NAME:key=value,flag` may give, with their defaults.
_PUBLIC = dict(train="", val="", classes="cityscapes19", day_images=False, ignore_invalid=False)
_role = lambda layout: "source" if layout.train else "eval"
_ARGUMENTS: dict[str, dict[str, Any]] = {
  **{name: dict(role=_role(layout), **_PUBLIC) for name, layout in layouts.LAYOUTS.items()},
  "camvid": dict(role="source", train="train", val="val"),
}
# What a data set is for -> its field in a recipe, which decides what is read of it.
_ROLES = {"source": "data.source", "target": "data.target", "eval": "eval.targets.NAME"}
SHOWN_PROBLEMS = 20


def parse_size(text: str) -> tuple[int, ...] | None:
  """(height, width) of `720,1280`, () of `full`, None of an empty text.

  Raises:
    ValueError: It is none of these.
  """
  if text in ("", "full"):
    return () if text else None
  try:
    height, width = map(int, text.split(","))
    if min(height, width) < 1:
      raise ValueError
  except ValueError:
    raise ValueError(f"--size={text} must be HEIGHT,WIDTH in pixels or full.") from None
  return height, width


def make_spec(dataset: str, path: str, size: Sequence[int] | None) -> tuple[str, dict[str, Any]]:
  """The field of a config for the data set `NAME` or `NAME:key=value,flag`, and its dict there.

  Raises:
    ValueError: The name or a key is unknown.
  """
  name, _, arguments = dataset.partition(":")
  defaults = registry.lookup(_ARGUMENTS, name, "dataset")
  given = run_arguments.parse(arguments, **defaults).to_dict()
  field = registry.lookup(_ROLES, given.pop("role"), "dataset.role")
  if name == "camvid":  # its splits are made of several selections
    given = {split: tuple(text.split("+")) for split, text in given.items()}
  else:
    given = {key: value for key, value in given.items() if value != defaults[key]}
  sizes = {} if size is None else {"size": tuple(size)}
  return field, dict(name=name, path=str(path), **given, **sizes)


@contextlib.contextmanager
def _in_words_of_flags(field: str = "dataset") -> Iterator[None]:
  """Errors about the config, which there is none, name the flags."""
  try:
    yield
  except ValueError as error:
    text = str(error).replace(f"config.{field}.path", "--manual_dir")
    raise ValueError(text.replace(f"config.{field}", "--dataset")) from None


def describe(folder: pathlib.Path, builder: base.Builder) -> str:
  """What has been prepared: numbers of images, pairs left out, classes that never occur."""
  size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
  lines = [f"{builder.name} is in {folder} ({size:.2f} GB)"]
  space = builder.label_space
  for split in tfds.builder_from_directory(folder).info.splits:  # also of a folder that was there
    counts = catalog.class_counts(folder, split, space.num_classes)
    absent = [name for name, n in zip(space.names, counts.sum(0), strict=True) if not n]
    note = f"; never occurs: {', '.join(absent)}" if absent else ""
    lines.append(f"  {split}: {len(counts)} images{note if counts.any() else ', no labels'}")
  problems = folder / shards.PROBLEMS
  if problems.exists():
    texts = problems.read_text().splitlines()
    lines.append(f"  left out: {len(texts)} of the pairs, all named in {problems}")
    lines += [f"    {text}" for text in texts[:SHOWN_PROBLEMS]]
    if len(texts) > SHOWN_PROBLEMS:
      lines.append(f"    and {len(texts) - SHOWN_PROBLEMS} more")
  return "\n".join(lines)


def prepare(dataset: str, path: str, *, size: str, data_dir: Path, skip: bool) -> pathlib.Path:
  """Prepares a data set, continues to, or renews what has changed; prints what there is, returns its folder.

  Args:
    dataset: `NAME` or `NAME:key=value,flag`, e.g. `dark_zurich:role=target,day_images`; `role` is
      source, target or eval, the others as in `public.builder`.
    path: Its folder as its archives unpack.
    size: `HEIGHT,WIDTH`, `full`, or empty: as the usual recipes have it.
    data_dir: Where prepared data sets are kept; `config.data.dir` of the runs.
    skip: Leave pairs with bad files out, rather than stop at the first.

  Raises:
    ValueError: The settings or the files are not as they must be.
  """
  with _in_words_of_flags():
    field, spec = make_spec(dataset, path, parse_size(size))
  with _in_words_of_flags(field):
    builder = catalog.find_builder(spec, data_dir, field)
    folder = base.prepare(builder, skip=skip, renew=True)
  print(describe(folder, builder))
  settings = ", ".join(f"{key}={value!r}" for key, value in spec.items())
  print(f"In a recipe: config.{field} = dict({settings})")
  if data_dir != paths.as_path(config_lib.default().data.dir, "config.data.dir"):
    print(f"             config.data.dir = {str(data_dir)!r}")
  return folder


def prepare_recipe(config: config_lib.ConfigDict, *, skip: bool) -> None:
  """Prepares all data sets of a recipe, continues to, or renews what has changed, and prints what there is.

  Raises:
    ValueError: The config or the files are not as they must be.
  """
  specs = {f"data.{domain}": config.data[domain] for domain in ("source", "target")}
  specs |= {f"eval.targets.{name}": spec for name, spec in config.eval.targets.items()}
  data_dir = paths.as_path(config.data.dir, "config.data.dir")
  builders = [catalog.find_builder(spec, data_dir, field) for field, spec in specs.items()]
  for field, builder in zip(specs, builders, strict=True):
    folder = base.prepare(builder, skip=skip, renew=True)
    print(f"{field}: {describe(folder, builder)}", flush=True)
