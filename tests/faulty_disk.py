"""A small disk that can be full or read-only, and commands on disks that are slow or fail.

The disk is a file system in memory, which takes the rights of root to mount. Slow and failing calls of the
system come from strace. Without these, tests are skipped.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

import jax
import pytest

from jax_uda.models import weights

ROOT = pathlib.Path(__file__).parents[1]
SIZE = 64  # MiB
BALLAST = "ballast"

Content = dict[str, str]  # hashes by file


class Disk:
  """A mounted disk of `SIZE`."""

  def __init__(self, folder: pathlib.Path):
    """Takes the folder where it is mounted."""
    self.folder = folder

  def leave(self, kib: int) -> None:
    """Fills it so far that `kib` KiB are free."""
    free = shutil.disk_usage(self.folder).free
    with (self.folder / BALLAST).open("wb") as file:
      file.write(bytes(free - 1024 * kib))

  def clear(self) -> None:
    """Makes it whole again."""
    self._remount("rw")
    (self.folder / BALLAST).unlink(missing_ok=True)

  def protect(self) -> None:
    """Makes it read-only."""
    self._remount("ro")

  def _remount(self, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)


@contextlib.contextmanager
def mounted(folder: pathlib.Path) -> Iterator[Disk]:
  """An empty disk at a new folder; skips the test where it cannot be mounted."""
  folder.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder]
  try:
    done = subprocess.run(mount, capture_output=True, text=True)
    problem = done.stderr.strip() if done.returncode else ""
  except OSError as error:
    problem = str(error)
  if problem:
    pytest.skip(f"no disk can be mounted here: {problem}")
  try:
    yield Disk(folder)
  finally:
    subprocess.run(["umount", folder], check=True)


def injecting(calls: str, fault: str) -> Sequence[str]:
  """What stands in front of a command, so that `fault` happens to `calls`; see `strace --inject`."""
  command = ["strace", "-f", "-qq", "-o", os.devnull, "--seccomp-bpf", "-e", f"trace={calls}"]
  command += ["-e", f"inject={calls}:{fault}"]
  try:
    done = subprocess.run([*command, "true"], capture_output=True, text=True)
    problem = done.stderr.strip() if done.returncode else ""
  except OSError as error:
    problem = str(error)
  if problem:
    pytest.skip(f"no calls of the system can be injected here: {problem}")
  return command


def start(arguments: Sequence[str], prefix: Sequence[str] = ()) -> subprocess.Popen:
  """Starts the command line; its words of both kinds come together."""
  environment = os.environ | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
  }
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  command = [*prefix, sys.executable, "main.py", *arguments]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def run(arguments: Sequence[str], prefix: Sequence[str] = ()) -> tuple[int, str]:
  """Runs the command line; returns its exit code and its words."""
  process = start(arguments, prefix)
  out, _ = process.communicate(timeout=300)
  return process.returncode, out


def recipe(data: pathlib.Path, workdir: pathlib.Path) -> list[str]:
  """The arguments of the tiny recipe."""
  return [
    f"--config=tests/tiny_recipe.py:data_dir={data},method=source_only",
    f"--workdir={workdir}",
    f"--compilation_cache={jax.config.jax_compilation_cache_dir}",
    "--config.panel_images=1",
  ]


def content_of(run: pathlib.Path) -> Content:
  """Hashes of what must be the same: scores, predictions, weights, and the checksums of all arrays saved."""
  patterns = ("results.json", "classes.json", "confusion.npz", "*.safetensors")
  patterns += ("predictions/**/*.png", "pseudo_labels/**/*", "checkpoints/*/checksums/metadata")
  files = sorted({path for pattern in patterns for path in run.glob(pattern) if path.is_file()})
  assert files, f"nothing in {run}"
  return {str(path.relative_to(run)): _hash(path) for path in files}


def _hash(path: pathlib.Path) -> str:
  """A hash of the content of a file."""
  content = path.read_bytes()
  if path.suffix == ".safetensors":  # the order of its texts changes from time to time
    tensors = sorted(weights.read(path).tensors.items())
    content = b"".join(name.encode() + tensor.tobytes() for name, tensor in tensors)
  return hashlib.sha256(content).hexdigest()
