"""What a run writes about itself before it starts: config, versions, parameter table."""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import sys
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from clu import parameter_overview

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.files import write_atomically
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline.examples import Example
from jax_uda.models import weights
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff

CLASSES = "classes.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "jax-uda")


def versions() -> dict[str, Any]:
  """Versions of Python and of the packages that decide numbers, and the devices."""

  def version(package: str) -> str:
    try:
      return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      return "not installed"

  return {
    "python": sys.version.split()[0],
    "platform": platform.platform(),
    **{package: version(package) for package in PACKAGES},
    "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
  }


def _plain(config: config_lib.ConfigDict) -> dict[str, Any]:
  return json.loads(json.dumps(config_diff.to_plain(config)))


def check_config(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Raises ValueError if `workdir` holds a run of another config; the differing fields are listed."""
  path = workdir / "config.json"
  if path.exists():
    different = config_diff.differences(json.loads(path.read_text()), _plain(config))
    if different:
      raise ValueError(
        f"{workdir} holds a run with another config: {'; '.join(different)}. "
        "Use a new --workdir, or the config of that run to continue it."
      )


def write(config: config_lib.ConfigDict, workdir: pathlib.Path, params: Any) -> None:
  """Writes the resolved config, versions and the parameter table; on the main process only."""
  if not mesh_lib.is_main_process():
    return
  write_atomically(workdir / "config.json", json.dumps(_plain(config), indent=2))
  if (workdir / "versions.json").exists():
    return  # a continued run keeps the record of its start
  write_atomically(workdir / "versions.json", json.dumps(versions(), indent=2))
  table = parameter_overview.get_parameter_overview(params, include_stats="global")
  write_atomically(workdir / "parameters.txt", table + "\n")


def write_weights(workdir: pathlib.Path, loaded: weights.Loaded, licence: str = "") -> None:
  """Writes which weight file the networks started from; on the main process only.

  Args:
    workdir: Folder of the run.
    loaded: The file, with its sha256.
    licence: Licence of the encoder's public weights, empty if unknown.
  """
  if mesh_lib.is_main_process():
    text = json.dumps({**dataclasses.asdict(loaded), "licence": licence}, indent=2)
    write_atomically(workdir / "init_weights.json", text)


class Classes(NamedTuple):
  """What a trained network predicts.

  Attributes:
    label_space: The classes.
    image_size: (height, width) into which the run fitted the target's validation images; None if the
      run had none or does not say.
  """

  label_space: LabelSpace
  image_size: tuple[int, int] | None


def write_classes(
  workdir: pathlib.Path, label_space: LabelSpace, images: Sequence[Example]
) -> None:
  """Writes the classes of the run and the size of its images; on the main process only.

  Args:
    workdir: Folder of the run.
    label_space: The classes.
    images: The target's validation images.
  """
  if not mesh_lib.is_main_process():
    return
  content = {
    "name": label_space.name,
    "names": list(label_space.names),
    "palette": label_space.palette.tolist(),
    "subsets": {name: list(ids) for name, ids in label_space.subsets.items()},
    "image_size": list(images[0]["image"].shape[:2]) if len(images) else None,
  }
  write_atomically(workdir / CLASSES, json.dumps(content, indent=2))


def read_classes(workdir: pathlib.Path) -> Classes | None:
  """The classes that `write_classes` has written; None where a run of an earlier version has not."""
  path = workdir / CLASSES
  if not path.is_file():
    return None
  content = json.loads(path.read_text())
  label_space = LabelSpace(
    content["name"],
    tuple(content["names"]),
    np.array(content["palette"], np.uint8).reshape(-1, 3),
    types.MappingProxyType({name: tuple(ids) for name, ids in content["subsets"].items()}),
  )
  size = content["image_size"]
  return Classes(label_space, (size[0], size[1]) if size else None)
