"""Prepared data sets in a bucket: `config.data.dir = "gs://bucket/prepared"`.

Readers need local files. Therefore a data set is prepared on this machine and copied up, and other machines
copy it down instead of preparing it. In the bucket, each version has a folder of its own, so that versions
are never mixed. `complete.json` beside these folders names the current version and is written last. An
interrupted copy continues where it stopped.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping

from tqdm import tqdm

from jax_uda.common import files, paths
from jax_uda.data.datasets import shards

MARKER = "complete.json"  # in the bucket, and in the local copy of it
_CHUNK = 2**23  # bytes


@dataclasses.dataclass(frozen=True)
class Marker:
  """The files of a complete data set.

  Attributes:
    version: The name of their folder.
    files: Their lengths in bytes, by name.
  """

  version: str
  files: dict[str, int]


def local_folder(data_dir: paths.Path) -> pathlib.Path:
  """The folder on this machine for data sets of `data_dir`: itself or, for a bucket, one in the cache."""
  if not paths.is_remote(data_dir):
    return pathlib.Path(data_dir)
  scheme, _, place = os.fspath(data_dir).partition("://")
  return paths.expanded("~/.cache/jax_uda", "the local copy of a bucket") / scheme / place


def read_marker(folder: paths.Path) -> Marker | None:
  """The marker in a folder or in a bucket; None if no complete data set is there.

  Raises:
    ValueError: The marker was not written by `publish`.
  """
  try:
    marker = Marker(**json.loads((folder / MARKER).read_text()))
    names = (marker.version, *marker.files)
    plain = all(name == pathlib.PurePosixPath(name).name not in ("", "..") for name in names)
  except FileNotFoundError:
    return None
  except (ValueError, TypeError) as error:
    raise ValueError(f"{folder / MARKER} is damaged: {error}. Remove it.") from None
  if not plain:
    raise ValueError(f"{folder / MARKER} names files in other folders; it is not ours.")
  return marker


def _write_marker(folder: paths.Path, marker: Marker) -> None:
  text = json.dumps(dataclasses.asdict(marker))
  if paths.is_remote(folder):
    (folder / MARKER).write_text(text)  # an object appears whole or not at all
  else:
    files.write_atomically(pathlib.Path(folder / MARKER), text)


@contextlib.contextmanager
def _copying(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder for an incomplete copy, for one process at a time; it stays after an interruption."""
  partial = folder.with_name(f"{folder.name}.copy")
  with shards.locked(partial):
    yield partial
    shutil.rmtree(partial, ignore_errors=True)


def _copy(
  source: paths.Path, target: paths.Path, files: Mapping[str, int], description: str
) -> None:
  """Copies files of known lengths unless they are there; a file that was cut off has another length."""
  total = sum(files.values())
  with tqdm(desc=description, total=total, unit="B", unit_scale=True, mininterval=0.5) as bar:
    for name, size in files.items():
      if (paths.stamp(target / name) or [-1])[0] == size:
        bar.update(size)
        continue
      copied = 0
      with (source / name).open("rb") as reader, (target / name).open("wb") as writer:
        while chunk := reader.read(_CHUNK):
          writer.write(chunk)
          copied += len(chunk)
          bar.update(len(chunk))
      if copied != size:
        raise OSError(
          f"{source / name} has {copied} bytes instead of {size}; start again to continue."
        )


def fetch(stored: paths.Path, folder: pathlib.Path) -> None:
  """Downloads a data set, complete or not at all, if the bucket has a version that is not here.

  A data set that was prepared here and is not in the bucket yet stays as it is; `publish` uploads it.

  Args:
    stored: The data set's folder in the bucket.
    folder: The data set's folder on this machine.
  """
  current = read_marker(stored)
  is_current = lambda: read_marker(folder) == current
  if current is None or is_current() or (folder.exists() and not (folder / MARKER).exists()):
    return
  with _copying(folder) as partial:
    if is_current():  # another process has done it in the meantime
      return
    new = partial / current.version
    new.mkdir(exist_ok=True)
    missing = sum(current.files.values()) - sum(file.stat().st_size for file in new.iterdir())
    if missing > (free := paths.free_bytes(new)):
      raise ValueError(
        f"{stored} needs {missing / 1e9:.1f} GB more below {folder}, where {free / 1e9:.1f} GB are free. Make "
        "room, or set config.data.dir to a folder on another disk."
      )
    _copy(stored / current.version, new, current.files, f"copying {stored} here")
    _write_marker(new, current)
    shards.put_in_place(new, folder)


def publish(folder: pathlib.Path, stored: paths.Path) -> None:
  """Uploads a prepared data set unless the bucket already has this version.

  Args:
    folder: The data set's folder on this machine; gets the marker.
    stored: The data set's folder in the bucket. Files of earlier versions stay there.
  """
  if read_marker(folder):
    return
  with _copying(folder):
    if read_marker(folder):  # another process has done it in the meantime
      return
    stamps = {file.name: paths.stamp(file) for file in paths.files_below(folder)}
    version = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:12]
    marker = Marker(version, {name: stamp[0] for name, stamp in stamps.items() if stamp})
    _copy(folder, stored / version, marker.files, f"copying to {stored}")
    _write_marker(stored, marker)
    _write_marker(folder, marker)
