"""What `jax-uda doctor` says: what this machine has for training, one sentence each."""

import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from jax_uda.run.config_dict import ConfigDict

GIB = 2**30
OLDEST_PYTHON = (3, 11)
# Module -> what it is for, and the extra of this package that brings it.
OPTIONAL = {
  "matplotlib": ("pictures and report.html", "viz"),
  "plotly": ("report.html", "viz"),
  "safetensors": (".safetensors files", "weights"),
  "tensorboardX": ("TensorBoard", "tb"),
  "av": ("videos", "video"),
  "flatbuffers": ("exported programs", "export"),
}
# Files that only a machine with such an accelerator has.
ACCELERATORS = {"GPU (NVIDIA)": ("/dev/nvidiactl", "cuda"), "TPU": ("/dev/accel0", "tpu")}
LITTLE_MEMORY, LITTLE_DISK = 4 * GIB, 10 * GIB


def report(cache: str, data_dir: str, config: ConfigDict | None) -> Iterator[str]:
  """Yields one sentence after the other; those about something to mend begin with "!".

  Args:
    cache: Folder of compiled programs, with `~`; empty: there is none.
    data_dir: Folder of prepared data sets, with `~`.
    config: A config whose data and weights are looked for; None: no config.
  """
  yield from _versions()
  yield from _devices()
  yield from _memory()
  yield from _folder("compiled programs", cache, "--compilation_cache")
  yield from _folder("prepared data sets", data_dir, "--data_dir")
  yield from _prepared(pathlib.Path(data_dir).expanduser())
  if config is not None:
    yield from _inputs(config)


def _versions() -> Iterator[str]:
  def version(package: str) -> str:
    try:
      return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      return "not installed"

  python = ".".join(map(str, sys.version_info[:3]))
  names = ("jax-uda", "jax", "jaxlib", "flax", "optax", "numpy")
  yield f"Python {python} has {', '.join(f'{name} {version(name)}' for name in names)}."
  if sys.version_info[:2] < OLDEST_PYTHON:
    yield f"! Python {python} is too old: install 3.11 or newer."
  if version("jax") != version("jaxlib"):
    yield "! jax and jaxlib have different versions: pip install -U jax jaxlib."
  missing = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
  for name in missing:
    purpose, extra = OPTIONAL[name]
    yield f'{name} is not installed; it is for {purpose}: pip install "jax-uda[{extra}]".'


def _devices() -> Iterator[str]:
  import jax

  try:
    devices = jax.devices()
  except RuntimeError as error:
    yield f"! JAX finds no device: {str(error).splitlines()[0]}"
    return
  kinds: dict[str, int] = {}
  for device in devices:
    kinds[f"{device.platform} ({device.device_kind})"] = (
      kinds.get(f"{device.platform} ({device.device_kind})", 0) + 1
    )
  yield f"JAX computes on {', '.join(f'{n} x {kind}' for kind, n in kinds.items())}."
  statistics = devices[0].memory_stats() or {}
  if limit := statistics.get("bytes_limit"):
    yield f"Each of them has {limit / GIB:.0f} GiB of memory for JAX."
  if devices[0].platform == "cpu":
    yield from unused_accelerators(os.path.exists, os.environ.get("JAX_PLATFORMS", ""), _gpu_name)


def unused_accelerators(
  exists: Callable[[str], bool], platforms: str, name_of_gpu: Callable[[], str]
) -> Iterator[str]:
  """Yields a sentence per accelerator that is here while JAX computes on the CPU.

  Args:
    exists: Whether a file exists.
    platforms: The variable JAX_PLATFORMS.
    name_of_gpu: The name of the GPU as its driver says it, or "".
  """
  for name, (file, extra) in ACCELERATORS.items():
    if not exists(file):
      continue
    shown = f"{name} {name_of_gpu()}".strip() if extra == "cuda" else name
    if "cpu" in platforms.split(","):
      yield f"! There is a {shown}, but JAX_PLATFORMS={platforms} keeps JAX on the CPU: unset it."
    else:
      yield (
        f'! There is a {shown}, but this jaxlib is for CPUs only: pip install "jax-uda[{extra}]" (jax[{extra}]).'
      )


def _gpu_name() -> str:
  program = shutil.which("nvidia-smi")
  if not program:
    return ""
  try:
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return output.splitlines()[0] if output else ""


def _memory() -> Iterator[str]:
  try:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (ValueError, OSError, AttributeError):
    return
  free = re.search(r"MemAvailable: +(\d+) kB", _content("/proc/meminfo"))
  shown = f", of which {int(free[1]) * 1024 / GIB:.1f} GiB are free" if free else ""
  yield f"This machine has {os.cpu_count()} CPU cores and {total / GIB:.1f} GiB of memory{shown}."
  limit = _content("/sys/fs/cgroup/memory.max").strip()
  if limit.isdecimal() and int(limit) < total:
    total = int(limit)
    yield f"This container may use {total / GIB:.1f} GiB of it."
  if total < LITTLE_MEMORY:
    yield "! That is little: the demo needs 4 GiB; make config.data.cache_mbytes and config.batch_size smaller."


def _content(file: str) -> str:
  try:
    return pathlib.Path(file).read_text("utf-8")
  except OSError:
    return ""


def _folder(title: str, text: str, flag: str) -> Iterator[str]:
  """What a folder of ours holds, and whether it can be written."""
  from jax_uda.common import paths

  if not text:
    yield f"There is no folder of {title}."
    return
  folder = pathlib.Path(text).expanduser()
  there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
  free = paths.free_bytes(folder)
  held = f"{_size(folder) / GIB:.2f} GiB" if folder.is_dir() else "nothing yet"
  yield f"The folder of {title}, {folder}, holds {held}; {free / GIB:.0f} GiB are free on its disk."
  if not os.access(there, os.W_OK):
    yield f"! {there} cannot be written: name another folder, {flag}=FOLDER."
  if free < LITTLE_DISK:
    yield f"! That disk is nearly full: free some space, or name another folder, {flag}=FOLDER."


def _size(folder: pathlib.Path) -> int:
  return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _prepared(folder: pathlib.Path) -> Iterator[str]:
  names = sorted(
    f"{file.parent.parent.parent.name}/{file.parent.parent.name}"
    for file in folder.glob("*/*/*/dataset_info.json")
  )
  if names:
    shown = ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
    yield f"{len(names)} data sets are prepared there: {shown}."
  else:
    yield "No data set is prepared there yet; the first run that needs one does it."


def _inputs(config: ConfigDict) -> Iterator[str]:
  """What a config reads, and whether it is there."""
  for name, group in (("source", config.data.source), ("target", config.data.target)):
    path: Any = group.get("path", "")
    if not path:
      yield f"config.data.{name} is {group.get('name', 'not set')}, which needs no files."
    elif "://" in path or pathlib.Path(path).expanduser().is_dir():
      yield f"config.data.{name}: {path} is there; `jax-uda check-data` reads all of it."
    else:
      yield f"! config.data.{name}: there is no folder {path}."
  weights = config.init_weights
  if weights and weights != "random" and not weights.startswith("package:"):
    if pathlib.Path(weights).expanduser().is_file():
      yield f"config.init_weights: {weights} is there."
    else:
      yield f"! config.init_weights: there is no file {weights}."
