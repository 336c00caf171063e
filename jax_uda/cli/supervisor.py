"""The parent of a process of a distributed run: it turns the end of its child into one sentence.

JAX's service for processes ends a process by SIGABRT and pages of stack as soon as another one is gone;
no handler runs before that. So the program runs in a child, whose standard error passes through here.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from jax_uda.run.interruption import EXIT_CODE, SIGNALS

FLAG = "distributed"
_PIPE = (
  "JAX_UDA_SUPERVISOR"  # in the environment of the child: where it says that all have come together
)
_CONNECTED = b"connected"

# Lines that only say in other words what the sentence says; what follows the last kind is its stack.
_CHATTER = re.compile(rb"[IW]\d{4} [\d:.]+ +\d+ coordination_service")
_FATAL = re.compile(
  rb"E\d{4} [\d:.]+ +\d+ (coordination_service|add_port)|F\d{4} [\d:.]+ +\d+ client\.h"
)
_START_OF_ONE = re.compile(rb"[IWEF]\d")  # of a line that is not complete yet
_UNHEALTHY = re.compile(r"stopped sending heartbeats\):\n((?:/?\S*\d+\n)+)")


def is_needed(arguments: Sequence[str]) -> bool:
  """Whether a command line is that of a process of a distributed run which has no parent yet."""
  names = [text.partition("=")[0].lstrip("-") for text in arguments if text.startswith("-")]
  return FLAG in names and _PIPE not in os.environ


def say_connected() -> None:
  """Tells the parent, if there is one, that all processes have come together."""
  if _PIPE in os.environ:
    os.write(int(os.environ[_PIPE]), _CONNECTED)


def end_with_parent() -> None:
  """Ends this process as soon as its parent is gone, if it has one that supervises it."""
  if _PIPE not in os.environ:
    return
  parent = os.getppid()

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(0.2)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def run() -> int:
  """Runs the same command in a child and returns the exit code for this process."""
  reader, writer = os.pipe()
  child = subprocess.Popen(
    [sys.executable, *sys.orig_argv[1:]],
    env={**os.environ, _PIPE: str(writer)},
    pass_fds=[writer],
    stderr=subprocess.PIPE,
  )
  os.close(writer)
  told: list[int] = []

  def pass_on(number: int, frame: Any) -> None:
    told.append(number)
    child.send_signal(number)

  for number in SIGNALS:
    signal.signal(number, pass_on)
  assert child.stderr is not None
  errors = _forward(child.stderr, sys.stderr.buffer)
  code = child.wait()
  os.set_blocking(reader, False)
  try:
    has_connected = os.read(reader, len(_CONNECTED)) == _CONNECTED
  except BlockingIOError:  # a child of the child still has the other end
    has_connected = False
  if code >= 0 or "--traceback" in sys.argv:
    sys.stderr.write(errors)
  if code >= 0:
    return code
  if told and not has_connected:  # another process was told, too, and has left already
    print("stopped before all processes had come together; the same command continues", flush=True)
    return EXIT_CODE
  text, code = _cause(-code, errors, has_connected)
  print(f"error: {text}", file=sys.stderr, flush=True)
  return code


def _forward(source: IO[bytes], target: IO[bytes]) -> str:
  """Passes lines on until the source ends; returns those that were kept back."""
  kept, rest, is_fatal = [], b"", False
  # What `print` of the child wrote without an end of line, as progress bars do, is passed on at once.
  read: Callable[[int], bytes] = getattr(source, "read1", source.read)
  while chunk := read(65536):
    *lines, rest = (rest + chunk).split(b"\n")
    for line in lines:
      is_fatal = is_fatal or bool(_FATAL.match(line))
      if is_fatal or _CHATTER.match(line):
        kept.append(line)
      else:
        target.write(line + b"\n")
    if rest and not is_fatal and not _START_OF_ONE.match(rest):
      target.write(rest)
      rest = b""
    target.flush()
  if rest and not is_fatal:
    target.write(rest)
    target.flush()
  return b"".join(line + b"\n" for line in kept).decode(errors="replace")


def _cause(number: int, errors: str, has_connected: bool) -> tuple[str, int]:
  """Why the child died of a signal, and the exit code for it."""
  if number not in (signal.SIGABRT, signal.SIGSEGV):
    name = signal.Signals(number).name
    return f"this process was ended by {name}; the same command continues", 128 + number
  if not has_connected:
    return (
      "the processes of --distributed did not come together in --distributed_timeout seconds. Check "
      "that all of them were started, each with an INDEX of its own, with the same HOST:PORT and the "
      "same COUNT, and that HOST:PORT of process 0 can be reached from here.",
      1,
    )
  names = re.findall(r"\d+$", "\n".join(_UNHEALTHY.findall(errors)), re.MULTILINE)
  if not names and "leader task" in errors:
    names = ["0"]
  who = f"process {' and process '.join(sorted(set(names)))}" if names else "another process"
  return (
    f"{who} of this run is gone: it was killed, preempted or failed (its log says which). This "
    "process ends, too; the same command on all processes continues from the last checkpoint.",
    EXIT_CODE,
  )
