"""A run knows its data and its weights by what they hold, not by where they lie.

`data.json` in the folder of a run notes what its data sets were made of. On another machine, or from another
folder, the run goes on if these are the same.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from jax_uda.common import paths, state_files
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets.sources import Identity
from jax_uda.models.weights import _read as weight_files

DATA, WEIGHTS = "data.json", "init_weights.json"
_DATA_PURPOSE = "it notes what the data of this run held; remove it, and the next start notes it again, without comparing"
_WEIGHTS_PURPOSE = "it notes the weight file that this run started from; remove it if config.init_weights is as it was"


def _read_data(workdir: pathlib.Path) -> dict[str, Any]:
  path = workdir / DATA
  return state_files.read_json(path, dict, _DATA_PURPOSE) if path.is_file() else {}


def read_weights(workdir: pathlib.Path) -> dict[str, Any]:
  """What the run has noted of the weight file that it started from; empty if there was none."""
  path = workdir / WEIGHTS
  return state_files.read_json(path, dict, _WEIGHTS_PURPOSE) if path.is_file() else {}


def noted_places(workdir: pathlib.Path) -> list[str]:
  """The fields of the config that say where something lies of which the run has noted what it holds."""
  noted = {name: note for name, note in _read_data(workdir).items() if note}
  places = [f"data.{name}.path" for name in noted]
  places += [f"data.{name}.class_stats" for name, note in noted.items() if note["class_stats"]]
  return [*places, "init_weights"] if read_weights(workdir) else places


def moved_runs(
  there: Mapping[str, Any], here: Mapping[str, Any], workdir: pathlib.Path
) -> list[str]:
  """The fields of two plain configs that name one run, which has been moved: by its name, in another folder.

  Args:
    there: The config that the run in `workdir` was started with.
    here: The one that it is to continue with.
    workdir: Folder of the run.
  """
  moved = []
  for field in ("init_from", "init_auxiliary"):
    before, now = there.get(field), here.get(field)
    if before and now and pathlib.Path(before).name == pathlib.Path(now).name:
      is_gone = not (workdir.parent / before).exists()
      moved += [field] * (is_gone and (workdir.parent / now).is_dir())
  return moved


def check_weights(file: str | None, workdir: pathlib.Path) -> None:
  """Raises SettingError if a run is to continue with another weight file than it started from.

  Args:
    file: `config.init_weights`.
    workdir: Folder of the run.
  """
  note = read_weights(workdir)
  if not note or not file:
    return
  field = ("config", "init_weights")
  try:
    place = weight_files.locate(file)
    if str(place) == note["path"]:
      return  # it need not be there any more
    digest = _hash(place)
  except (OSError, ValueError) as error:
    raise SettingError(
      field,
      f"= {file!r} cannot be read ({error}); the run in {workdir} started from {note['path']}, of which "
      "any copy will do.",
    ) from None
  if digest != note["sha256"]:
    raise SettingError(
      field,
      f"= {file!r} is another file than the run in {workdir} started from: {note['path']}, sha256 "
      f"{note['sha256'][:12]}…, not {digest[:12]}…. Use a new --workdir, or a copy of that file.",
    )


def _hash(path: paths.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _spec(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
  """The description of the data set `source`, or `sources.1` of several."""
  field, _, number = name.partition(".")
  return data[field][int(number)] if number else data[field]


def _note(data: Mapping[str, Any], identities: Mapping[str, Identity | None]) -> dict[str, Any]:
  """What `data.json` says of the data sets that are made of files."""
  notes = {}
  for name, identity in identities.items():
    if identity is not None:
      spec = _spec(data, name)
      stats = spec.get("class_stats")
      notes[name] = {
        **identity._asdict(),
        "path": str(paths.absolute(spec.get("path", ""), "path")),
        "class_stats": _hash(paths.as_path(stats, "class_stats")) if stats else "",
      }
  return notes


def check(
  data: Mapping[str, Any], identities: Mapping[str, Identity | None], workdir: pathlib.Path
) -> None:
  """Compares the data of a run with those that it has noted.

  Data that have changed where they were are only said: a run may go on after a file was mended.

  Args:
    data: The config group `data`.
    identities: What "source" and "target" were made of; None of one that is drawn.
    workdir: Folder of the run.

  Raises:
    ValueError: The data are in another folder, and others.
  """
  before = _read_data(workdir)
  for name, now in (_note(data, identities) if before else {}).items():
    if name in before:
      _compare(name, before[name], now, workdir)


def write(
  data: Mapping[str, Any], identities: Mapping[str, Identity | None], workdir: pathlib.Path
) -> None:
  """Notes what the data are made of; the arguments are those of `check`."""
  before = _read_data(workdir)
  notes = before | _note(data, identities)
  if notes != before:
    state_files.write_json(workdir / DATA, notes)


def _compare(
  name: str, note: Mapping[str, Any], now: Mapping[str, Any], workdir: pathlib.Path
) -> None:
  """Says or raises, as `check` does, how a data set differs from the one that the run began with."""
  difference = _difference(note, now)
  is_moved = note["path"] != now["path"]
  if difference and is_moved:
    raise ValueError(
      f"{workdir} holds a run with other data: config.data.{name}.path was {note['path']!r} there and is "
      f"{now['path']!r} here, {difference}. Use a new --workdir, or the data of that run."
    )
  if difference:
    say(f"the data of the {name} have changed since this run was here last: {difference}")
  elif is_moved:
    say(f"the data of the {name} are those that lay in {note['path']} before")


def _difference(note: Mapping[str, Any], now: Mapping[str, Any]) -> str:
  """What differs between two data sets, in words; empty if nothing does, or nothing that is known."""
  if note["files"] != now["files"]:
    return f"{note['files']} files there and {now['files']} here"
  if note["names"] != now["names"]:
    return "whose names or lengths differ"
  if note["contents"] != now["contents"] and note["contents"] and now["contents"]:
    return "whose contents differ, with equal names and lengths"
  return "with other class statistics" if note["class_stats"] != now["class_stats"] else ""
