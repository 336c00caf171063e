"""Commands that are made to end, started again, and compared with ones that were never disturbed.

A kill is a command, a signal and a moment. Moments are seen from outside: by what the command has said, by the
files that it has written, or by the clock.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import damage
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from array_record.python import array_record_module

from jax_uda.common import state_files
from jax_uda.run import integrity, interruption, saved_state
from jax_uda.run.report import metric_lines

ROOT = pathlib.Path(__file__).parents[1]
# By name: the signals, and the seconds after each.
SIGNALS = {
  "SIGKILL": ((signal.SIGKILL, 0.0),),
  "SIGTERM": ((signal.SIGTERM, 0.0),),
  "SIGINT": ((signal.SIGINT, 0.0),),
  "twice": ((signal.SIGTERM, interruption.ECHO + 0.1), (signal.SIGINT, 0.0)),
}
PATIENCE = 300  # seconds for anything at all; nothing that is tested is that slow
TRIES = 4  # to hit a moment before the command has ended
# What depends on the clock, or on how often a command was started.
_TIMES = ("images_per_second", "data_wait_fraction", "checkpoint_seconds")
_SKIPPED = {"checkpoints", "tensorboard", "cache"}  # folders; checkpoints are compared as arrays
_CLOCKED = ("report.html", "benchmark.json", "benchmark.md", "benchmark.png")

# (folder of the run, output so far) -> whether the moment has come.
Moment = Callable[[pathlib.Path, str], bool]


def said(text: str, times: int = 1) -> Moment:
  """The moment when a text is in the output."""
  return lambda folder, out: out.count(text) >= times


def exists(pattern: str) -> Moment:
  """The moment when a file or a folder appears below the folder of the run."""
  return lambda folder, out: any(True for _ in folder.glob(pattern))


def logged(steps: int) -> Moment:
  """The moment when so many lines of metrics are written."""

  def has_come(folder: pathlib.Path, out: str) -> bool:
    path = folder / "run" / metric_lines.FILE
    return path.exists() and path.read_bytes().count(b"\n") >= steps

  return has_come


@dataclasses.dataclass(frozen=True)
class Command:
  """A command of the package.

  Attributes:
    name: What it does, for the table.
    arguments: Its arguments; `{folder}`, `{data}` and `{cache}` stand for folders, `{place}` for HOST:PORT,COUNT,INDEX.
    moments: By name.
    number_random: How many kills come at a random moment beside.
    base: The command whose finished folder it works on; empty: none.
    module: What is run.
    processes: How many run it together.
  """

  name: str
  arguments: tuple[str, ...]
  moments: dict[str, Moment] = dataclasses.field(default_factory=dict)
  number_random: int = 0
  base: str = ""
  module: tuple[str, ...] = ("main.py",)
  processes: int = 1


@dataclasses.dataclass(frozen=True)
class Kill:
  """One kill.

  Attributes:
    command: What is killed.
    signal: One of `SIGNALS`.
    title: The name of the moment.
    share: Of the seconds of an undisturbed run, where no moment has a name.
    targets: Which processes get the signal.
    is_child: Whether the children of these processes get it in their place.
  """

  command: Command
  signal: str
  title: str
  share: float = 0.0
  targets: tuple[int, ...] = (0,)
  is_child: bool = False

  def __str__(self) -> str:
    who = f"{'child of ' * self.is_child}{'+'.join(map(str, self.targets))} "
    return f"{self.command.name}, {self.signal}, {who * (self.command.processes > 1)}{self.title}"


def of(command: Command, each: int = 1) -> list[Kill]:
  """The kills of a command: `each` per named moment and the random ones, with the signals in turn."""
  names = tuple(SIGNALS)
  titles = [title for title in command.moments for _ in range(each)]
  kills = [Kill(command, names[number % len(names)], title) for number, title in enumerate(titles)]
  for number in range(command.number_random):
    # From the other end, so that a command with few moments meets all signals.
    name = names[-1 - number % len(names)]
    share = random.Random(f"{number} {command.name}").uniform(0.02, 0.9)
    kills.append(Kill(command, name, f"random {number}", share))
  return kills


@dataclasses.dataclass
class Done:
  """What is left of a command that has ended; `seconds` are those of it all, or since a signal."""

  codes: list[int]
  outs: list[str]
  seconds: float


class Place:
  """Folders that the commands of a drill share: prepared data, compiled programs, undisturbed runs."""

  def __init__(self, folder: pathlib.Path, commands: Iterable[Command]):
    """Takes an empty folder, and all commands, among them those that others start from."""
    self._folder, self.data = folder, folder / "data"
    self._commands = {command.name: command for command in commands}
    self._whole: dict[str, tuple[pathlib.Path, Done]] = {}

  def begin(self, command: Command, folder: pathlib.Path) -> list[subprocess.Popen]:
    """Starts a command in a folder, whose files `out0`, … get what its processes say."""
    names = dict(folder=folder, data=self.data, cache=jax.config.jax_compilation_cache_dir)
    environment = os.environ | {
      "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
      "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
      "PYTHONUNBUFFERED": "1",
    }
    address, processes = f"127.0.0.1:{_free_port()}", []
    for index in range(command.processes):
      place = f"{address},{command.processes},{index}"
      arguments = [text.format(place=place, **names) for text in command.arguments]
      with (folder / f"out{index}").open("wb") as out:
        process = subprocess.Popen(
          [sys.executable, *command.module, *arguments],
          cwd=ROOT,
          env=environment,
          stdout=out,
          stderr=subprocess.STDOUT,
        )
      processes.append(process)
    return processes

  def run(self, command: Command, folder: pathlib.Path) -> Done:
    """Runs a command to its end."""
    began = time.monotonic()
    processes = self.begin(command, folder)
    return _end(processes, folder, began)

  def whole(self, command: Command) -> tuple[pathlib.Path, Done]:
    """The folder of an undisturbed run, and how it ended; run at the first call."""
    if command.name not in self._whole:
      folder = self.fresh(command)
      done = self.run(command, folder)
      assert not any(done.codes), done
      self._whole[command.name] = folder, done
    return self._whole[command.name]

  def fresh(self, command: Command) -> pathlib.Path:
    """A new folder in which the command can be started."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{command.name[:8]}-"))
    if command.base:
      base, _ = self.whole(self._commands[command.base])
      shutil.copytree(base / "run", folder / "run")
    return folder

  def disturbed(self, kill: Kill) -> tuple[pathlib.Path, Done]:
    """A folder with what a killed command left, and how that ended."""
    command, (_, whole) = kill.command, self.whole(kill.command)
    for attempt in range(TRIES):
      folder = self.fresh(command)
      processes = self.begin(command, folder)
      targets = [processes[index] for index in kill.targets]
      try:
        if kill.title in command.moments:
          is_hit = _wait_for(command.moments[kill.title], folder, targets)
        else:
          is_hit = _wait(targets, kill.share * whole.seconds * 0.7**attempt)
        if is_hit:
          began = time.monotonic()
          _tell(targets, SIGNALS[kill.signal], kill.is_child)
          return folder, _end(processes, folder, began)
      finally:
        for process in processes:
          process.kill()
          process.wait()
    raise AssertionError(
      f"{kill}: the command ended before, {TRIES} times: {_read(folder / 'out0')}"
    )


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def _read(path: pathlib.Path) -> str:
  return path.read_text(errors="replace")


def _end(processes: Sequence[subprocess.Popen], folder: pathlib.Path, began: float) -> Done:
  """Waits until all processes have ended."""
  try:
    for process in processes:
      process.wait(PATIENCE)
  finally:
    for process in processes:
      process.kill()
  outs = [_read(folder / f"out{index}") for index in range(len(processes))]
  return Done([process.returncode for process in processes], outs, time.monotonic() - began)


def _are_running(processes: Sequence[subprocess.Popen]) -> bool:
  return all(process.poll() is None for process in processes)


def _wait_for(moment: Moment, folder: pathlib.Path, processes: Sequence[subprocess.Popen]) -> bool:
  """Waits for a moment; False if a process ended first."""
  deadline = time.monotonic() + PATIENCE
  while _are_running(processes):
    assert time.monotonic() < deadline, _read(folder / "out0")
    with contextlib.suppress(FileNotFoundError):  # a folder that is gone while it is looked into
      if moment(folder, _read(folder / "out0")):
        return _are_running(processes)
    time.sleep(0.002)
  return False


def _wait(processes: Sequence[subprocess.Popen], seconds: float) -> bool:
  """Waits so long; False if a process ended first."""
  with contextlib.suppress(subprocess.TimeoutExpired):
    processes[0].wait(seconds)
  return _are_running(processes)


def _tell(
  processes: Sequence[subprocess.Popen], signals: Sequence[tuple[int, float]], is_child: bool
) -> None:
  """Sends signals, with their pauses."""
  numbers = [_child_of(process.pid) if is_child else process.pid for process in processes]
  for number, pause in signals:
    for process, pid in zip(processes, numbers, strict=True):
      if process.poll() is None:
        os.kill(pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      processes[-1].wait(pause)


def _child_of(pid: int) -> int:
  return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def check_end(kill: Kill, done: Done) -> None:
  """Raises AssertionError unless all processes of a command that was told to end did so in peace."""
  names = {number for number, _ in SIGNALS[kill.signal]}
  is_killed = kill.signal == "SIGKILL"
  for index, (code, out) in enumerate(zip(done.codes, done.outs, strict=True)):
    about = f"{kill}, process {index}: {code}: {out}"
    for text in ("Traceback", "Exception ignored", "stack trace"):
      assert text not in out, about
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    if index in kill.targets and is_killed and kill.is_child:
      assert code == 128 + signal.SIGKILL and "ended by SIGKILL" in errors[0], about
    elif index in kill.targets:
      # Before it listens and behind its last line, a signal does what it does to any program.
      assert code in {0, interruption.EXIT_CODE, *(-number for number in names)}, about
      assert not errors, about
    elif is_killed:
      assert code == interruption.EXIT_CODE and len(errors) == 1, about
      assert f"process {kill.targets[0]} of this run is gone" in errors[0], about
    else:
      assert code == interruption.EXIT_CODE and not errors, about
    if code == interruption.EXIT_CODE and index == 0:
      assert "the same command" in out and "continues" in out, about


def check_no_step_lost(kill: Kill, folder: pathlib.Path) -> None:
  """Raises AssertionError if a run that was told to stop, once, has trained steps that it did not save."""
  for path in folder.rglob(metric_lines.FILE):
    rows = metric_lines.read(path.parent).rows
    saved = _steps(path.parent / "checkpoints")
    trained = max((row["step"] for row in rows), default=0)
    assert max(saved, default=0) >= trained, f"{kill}: {trained} steps, {saved} saved"


def _steps(folder: pathlib.Path) -> list[int]:
  if not folder.is_dir():
    return []
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def end_of(whole: pathlib.Path, folder: pathlib.Path, again: Done) -> str:
  """How a command ended that was started again after a kill; "WRONG: …" is what must not be.

  Args:
    whole: The folder of an undisturbed run.
    folder: The folder of this one.
    again: Its end.
  """
  if any("Traceback" in out for out in again.outs) or not {*again.codes} <= {0, 1}:
    return f"WRONG: {again}"
  if any(again.codes):
    lines = [[line for line in out.splitlines() if line[:7] == "error: "] for out in again.outs]
    is_said = all(len(errors) == 1 for errors in lines)
    return damage.SENTENCE if is_said else f"WRONG: no sentence: {again}"
  expected, contents = snapshot(whole), snapshot(folder)
  different = {
    name: (expected.get(name), contents.get(name))
    for name in expected.keys() | contents.keys()
    if expected.get(name) != contents.get(name)
  }
  if different:
    return f"WRONG: other files: {str(different)[:2000]}\n{again.outs[0][-2000:]}"
  is_said = "is damaged" in again.outs[0] and "continues from step" in again.outs[0]
  return damage.PREVIOUS if is_said else damage.SAME


def snapshot(folder: pathlib.Path) -> dict[str, Any]:
  """What a run has left, as far as it does not depend on the clock: by path, contents or their hashes."""
  contents: dict[str, Any] = {}
  for path in sorted(folder.rglob("*")):
    name = path.relative_to(folder)
    if path.name == "checkpoints" and path.is_dir():
      contents |= {f"{name}: {key}": value for key, value in _newest(path).items()}
    elif path.is_dir() or name.parts[0].startswith("out") or _SKIPPED & {*name.parts}:
      continue
    elif path.name in _CLOCKED:
      contents[str(name)] = "there"
    elif path.name == metric_lines.FILE:
      rows = metric_lines.read(path.parent).rows
      contents[str(name)] = [{k: v for k, v in row.items() if k not in _TIMES} for row in rows]
    else:
      contents[str(name)] = _content(path, folder)
  return contents


def _content(path: pathlib.Path, folder: pathlib.Path) -> str:
  """A hash of a file in which the name of the folder does not count, nor what lies between records."""
  if ".array_record-" in path.name:
    records = array_record_module.ArrayRecordReader(str(path)).read_all()
    # Protocol buffers write the features of an example in any order.
    return hashlib.sha256(b"".join(bytes(sorted(record)) for record in records)).hexdigest()
  content = path.read_bytes().replace(os.fsencode(folder), b"FOLDER")
  if path.suffix == ".safetensors":  # the library writes the texts of its header in any order
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True)
    content = header.encode() + content[end:]
  if path.suffix == ".json":
    with contextlib.suppress(ValueError):
      plain = json.loads(content)
      if isinstance(plain, dict):
        plain.pop(state_files.CHECKSUM, None)
      content = json.dumps(plain, sort_keys=True).encode()
  return hashlib.sha256(content).hexdigest()


def _newest(folder: pathlib.Path) -> dict[str, Any]:
  """The arrays of the newest checkpoint, as hashes; and what in the folder is no checkpoint."""
  steps = _steps(folder)
  others = sorted(path.name for path in folder.iterdir() if not path.name.isdigit())
  if not steps:
    return {"others": others}
  state = folder / str(steps[-1]) / saved_state.STATE
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(state).item_metadata.tree
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    arrays = reader.restore(state, restore_args=on_host)
  return {"newest": steps[-1], "others": others, **integrity.checksums(arrays)}


@functools.cache
def tiny(*more: str) -> tuple[str, ...]:
  """The arguments of a small run with `more` beside the folder and the recipe."""
  return ("--workdir={folder}/run", "--compilation_cache={cache}", *more)


def drill(kill: Kill, place: Place) -> tuple[str, float]:
  """Kills a command and starts it again; returns how that ended, and the seconds from the signal to the end."""
  whole, _ = place.whole(kill.command)
  folder, done = place.disturbed(kill)
  check_end(kill, done)
  if kill.signal in ("SIGTERM", "SIGINT"):
    check_no_step_lost(kill, folder)
  for path in folder.glob("out*"):
    path.rename(path.with_name(f"{path.name}-killed"))
  return end_of(whole, folder, place.run(kill.command, folder)), done.seconds


def params(kills: Sequence[Kill], every: int = 4) -> list[Any]:
  """Kills as pytest's parameters; those that CI drills, one of `every`, have a mark."""
  marks = lambda number: pytest.mark.often if number % every == 0 else ()
  return [pytest.param(kill, id=str(kill), marks=marks(i)) for i, kill in enumerate(kills)]
