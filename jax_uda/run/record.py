"""What a run writes about itself before it starts: config, versions, data, parameter table."""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import sys
from typing import Any

import jax
from clu import parameter_overview

from jax_uda.common import files, state_files
from jax_uda.common import mesh as mesh_lib
from jax_uda.data.datasets import catalog
from jax_uda.models import weights
from jax_uda.run import checkpoint, classes_file, config_diff, same_inputs
from jax_uda.run import config as config_lib
from jax_uda.run.saved_config import CONFIG

VERSIONS, PARAMETERS = "versions.json", "parameters.txt"
INHERITED_WEIGHTS = "inherited_weights.json"
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


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
  """The config of the run in `workdir`.

  Raises:
    state_files.DamagedFileError: The file is not what was written.
    OSError: There is no such file.
  """
  purpose = (
    "it says with which config this run was started; put a copy of it there, or remove it, and the next "
    "start writes the config of then, without comparing the two"
  )
  return state_files.read_json(workdir / CONFIG, dict, purpose)


def check_config(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Raises ValueError if `workdir` holds a run of another config; the differing fields are listed.

  Where the data and the weights lie is no difference, if the run has noted what they hold:
  `same_inputs.check` compares that. Nor is the folder of another run that is not where it was.
  """
  if not (workdir / CONFIG).exists():
    return
  different = config_diff.differences(read_config(workdir), _plain(config))
  moved = same_inputs.moved_runs(read_config(workdir), _plain(config), workdir)
  places = tuple(f"config.{place}: " for place in [*same_inputs.noted_places(workdir), *moved])
  different = [text for text in different if not text.startswith(places)]
  different += _rates_changed_behind(read_config(workdir), _plain(config), workdir)
  if different:
    raise ValueError(
      f"{workdir} holds a run with another config: {'; '.join(different)}. "
      "Use a new --workdir, or the config of that run to continue it."
    )
  same_inputs.check_weights(config.init_weights, workdir)


def _rates_changed_behind(
  old: dict[str, Any], new: dict[str, Any], workdir: pathlib.Path
) -> list[str]:
  """The difference, if `schedule.scale_from` differs for steps that are trained already."""
  trained = max(checkpoint.saved_steps(workdir / "checkpoints"), default=0)
  there, here = (
    [
      tuple(pair)
      for pair in plain["schedule"].get("scale_from", ())
      if isinstance(pair, list) and pair and pair[0] < trained
    ]
    for plain in (old, new)
  )
  if there == here:
    return []
  return [
    f"config.schedule.scale_from: {there} there, {here} here before step {trained}, the last one that "
    "is trained; it may be changed from there on"
  ]


def write(
  config: config_lib.ConfigDict,
  workdir: pathlib.Path,
  params: Any,
  domains: catalog.Domains,
  *,
  only_missing: bool = False,
) -> None:
  """Writes config, data, classes, versions and the parameter table; on the main process only.

  Args:
    config: The config of the run.
    workdir: Its folder.
    params: The parameters of its network.
    domains: Its data.
    only_missing: Whether a config that is there stays. Versions and parameter table always do: a
      continued run keeps the record of its start.
  """
  if not mesh_lib.is_main_process():
    return
  is_missing = lambda name: not (workdir / name).exists()
  if not only_missing or is_missing(CONFIG):
    state_files.write_json(workdir / CONFIG, _plain(config))
  same_inputs.write(config.data, domains.identities, workdir)
  if not only_missing or is_missing(classes_file.FILE):
    classes_file.write(workdir, domains)
  if is_missing(VERSIONS):
    state_files.write_json(workdir / VERSIONS, versions())
  if is_missing(PARAMETERS):
    table = parameter_overview.get_parameter_overview(params, include_stats="global")
    files.write_atomically(workdir / PARAMETERS, table + "\n")


def write_weights(workdir: pathlib.Path, loaded: weights.Loaded) -> None:
  """Writes the weight file that the networks started from, with its sha256; on the main process only."""
  if mesh_lib.is_main_process():
    state_files.write_json(workdir / same_inputs.WEIGHTS, dataclasses.asdict(loaded))


def check_same_weights(workdir: pathlib.Path, loaded: weights.Loaded) -> None:
  """Raises ValueError if the run in `workdir` has begun from another content of the weight file."""
  before = same_inputs.read_weights(workdir).get("sha256", loaded.sha256)
  if before != loaded.sha256:
    raise ValueError(
      f"{loaded.path} is not the file from which the run in {workdir} began (sha256 {before[:12]}… there, "
      f"{loaded.sha256[:12]}… now): put that file back, or use a new --workdir"
    )


def _weights_behind(workdir: pathlib.Path) -> dict[str, Any]:
  """What is noted of the weight file from which a run started, itself or through other runs; or nothing."""
  if noted := same_inputs.read_weights(workdir):
    return noted
  path = workdir / INHERITED_WEIGHTS
  purpose = "it notes the weight file behind this run for exported weights; remove it"
  return state_files.read_json(path, dict, purpose) if path.is_file() else {}


def inherit_weights(workdir: pathlib.Path, other: pathlib.Path) -> None:
  """Notes the weight file behind the run `other`, with which the run in `workdir` begins."""
  if mesh_lib.is_main_process() and (noted := _weights_behind(other)):
    state_files.write_json(workdir / INHERITED_WEIGHTS, noted | {"through": other.name})


def origin_of_weights(workdir: pathlib.Path) -> dict[str, str]:
  """Texts for an exported file about the weight file from which its run began, and its licence."""
  noted = _weights_behind(workdir)
  if not noted:
    return {}
  texts = {"source": pathlib.Path(noted["path"]).name, "sha256": noted["sha256"]}
  return texts | ({"licence": noted["licence"]} if noted.get("licence") else {})
