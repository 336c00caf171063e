"""Preparing a data set from the command line, before a run needs it."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import base, catalog, disk, layouts, shards
from jax_uda.data.pipeline.rescale import Size
from jax_uda.data.roles import Role
from jax_uda.run import arguments as run_arguments
from jax_uda.run import config as config_lib
from jax_uda.run import data_sets
from jax_uda.run import findings as findings_lib
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.findings import Findings

# Data set -> the arguments that `--dataset=NAME:key=value,flag` may give, with their defaults.
_PUBLIC = dict(train="", val="", classes="cityscapes19", day_images=False, ignore_invalid=False)
_PUBLIC |= dict(store="auto")


def _default_role(layout: layouts.Layout) -> Role:
  return Role.SOURCE if layout.train else Role.EVALUATION


_ARGUMENTS: dict[str, dict[str, Any]] = {
  **{
    name: dict(role=_default_role(layout).value, **_PUBLIC)
    for name, layout in layouts.LAYOUTS.items()
  },
  "camvid": dict(role=Role.SOURCE.value, train="train", val="val", store="auto"),
}
_ROLES = {role.value: role for role in Role}
# Role -> the field of a recipe that describes such a data set.
_FIELDS = {
  Role.SOURCE: "config.data.source",
  Role.TARGET: "config.data.target",
  Role.EVALUATION: "config.eval.targets.NAME",
}
# Argument of a data set -> the flag that sets it. All others are given in --dataset.
_FLAGS = {"path": "--manual_dir", "size": "--size", "dir": "--data_dir"}


def parse_size(text: str) -> Size | tuple[()] | None:
  """Reads `--size`: (height, width) for `720,1280`, () for `full`, None for an empty text.

  Raises:
    ValueError: The text is none of these.
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


def make_spec(dataset: str, path: str, size: Sequence[int] | None) -> tuple[Role, dict[str, Any]]:
  """The role of the data set `NAME` or `NAME:key=value,flag`, and its dict in a recipe.

  Args:
    dataset: The flag `--dataset`.
    path: The folder of the data set.
    size: (height, width) into which images are fitted, () for images as they are, None for the usual
      size.

  Raises:
    SettingError: The name or a role is unknown.
    ValueError: A key is unknown or its value has the wrong type.
  """
  name, _, text = dataset.partition(":")
  defaults = registry.lookup(_ARGUMENTS, name, ())
  arguments: dict[str, Any] = run_arguments.parse(text, **defaults).to_dict()
  role = registry.lookup(_ROLES, arguments.pop("role"), ("role",))
  if name == "camvid":  # its splits are made of several selections
    arguments |= {split: tuple(arguments[split].split("+")) for split in ("train", "val")}
  arguments = {key: value for key, value in arguments.items() if value != defaults[key]}
  sizes = {} if size is None else {"size": tuple(size)}
  return role, dict(name=name, path=str(path), **arguments, **sizes)


@contextlib.contextmanager
def _errors_name_flags() -> Iterator[None]:
  """Errors about arguments of a data set name the flag that set the argument."""
  try:
    yield
  except SettingError as error:
    argument, *rest = error.path or ("",)
    if argument in _FLAGS:
      path = (_FLAGS[argument], *rest)
    else:
      path = ("--dataset", *error.path)
    raise SettingError(path, error.message) from error.__cause__


def describe(folder: pathlib.Path, builder: base.Builder) -> str:
  """What has been prepared, in words: numbers of images, classes that never occur, pairs left out."""
  size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
  lines = [f"{builder.name} is in {folder} ({size:.2f} GB)"]
  space = builder.label_space
  for split in tfds.builder_from_directory(folder).info.splits:  # also of a folder that was there
    counts = catalog.class_counts(folder, split, space.num_classes)
    text = findings_lib.describe(split, Findings(len(counts), counts.sum(0)), space, unit="images")
    lines += [f"  {line}" for line in text.splitlines()]
  problems = folder / shards.PROBLEMS
  if problems.exists():
    texts = problems.read_text().splitlines()
    lines.append(f"  left out: {len(texts)} of the pairs, all named in {problems}")
    lines += findings_lib.listed(texts)
  return "\n".join(lines)


def prepare(
  dataset: str, path: str, *, size: str, data_dir: Path, skip: bool, repair: bool = False
) -> pathlib.Path:
  """Prepares a data set, continues an interrupted preparation, or renews what has changed.

  Prints what is in the data set, and how a recipe names it.

  Args:
    dataset: `NAME` or `NAME:key=value,flag`, e.g. `dark_zurich:role=target,day_images`; `role` is
      source, target or eval, the other keys are arguments of `from_layout.DataSet`.
    path: The folder of the data set, as its archives unpack.
    size: `HEIGHT,WIDTH`, `full`, or empty for the size of the usual recipes.
    data_dir: The folder of all prepared data sets; `config.data.dir` of the runs.
    skip: Whether pairs with bad files are left out, rather than the first one refused.
    repair: Whether a damaged data set is prepared again; all of it is read to find damages.

  Returns:
    The folder of the prepared data set on this machine.

  Raises:
    SettingError: An argument is wrong; the path begins with the flag that set it.
    ValueError: Another flag or a file is wrong.
  """
  with _errors_name_flags():
    role, spec = make_spec(dataset, path, parse_size(size))
    builder = catalog.find_builder(spec, data_dir, role)
    disk.check_space([builder], renew=True)
    folder = base.prepare(builder, skip=skip, renew=True, repair=repair)
  print(describe(folder, builder))
  settings = ", ".join(f"{key}={value!r}" for key, value in spec.items())
  print(f"In a recipe: {_FIELDS[role]} = dict({settings})")
  if data_dir != paths.as_path(catalog.DATA_DIR, "data_dir"):
    print(f"             config.data.dir = {str(data_dir)!r}")
  return folder


def prepare_recipe(
  data: Mapping[str, Any],
  targets: Mapping[str, Mapping[str, Any]],
  *,
  skip: bool,
  repair: bool = False,
) -> None:
  """Prepares all data sets of a recipe and prints what is in them.

  Args:
    data: The config group `data`.
    targets: The config group `eval.targets`.
    skip: Whether pairs with bad files are left out, rather than the first one refused.
    repair: Whether damaged data sets are prepared again; all of them is read to find damages.

  Raises:
    ValueError: The config or the files are not as they must be.
  """
  builders = _builders(data, targets)
  with registry.within("config", "data"):
    disk.check_space([builder for _, builder in builders], renew=True)
  for path, builder in builders:
    with registry.within("config", *path):
      folder = base.prepare(builder, skip=skip, renew=True, repair=repair)
    print(f"{'.'.join(path)}: {describe(folder, builder)}", flush=True)


def repair_recipe(config: ConfigDict) -> None:
  """Reads all prepared data sets of a recipe and of its stages, and prepares damaged ones again.

  Raises:
    ValueError: The config or the files are not as they must be.
  """
  repaired = set()
  for stage in [*config_lib.stage_configs(config).values()] or [config]:
    for path, builder in _builders(stage.data, stage.eval.targets):
      if builder.is_complete and builder.data_path not in repaired:
        repaired.add(builder.data_path)
        with registry.within("config", *path):
          base.prepare(builder, repair=True)


def _builders(
  data: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]]
) -> list[tuple[tuple[str, ...], base.Builder]]:
  """The data sets of a config, each with its field; all are looked for before any is prepared."""
  data_dir = paths.as_path(data["dir"], "config.data.dir")
  builders = []
  for path, spec, role in data_sets.described(data, targets):
    with registry.within("config", *path):
      builders.append((path, catalog.find_builder(spec, data_dir, role, data["store"])))
  return builders
