"""Locks on folders for one process at a time, which the death of that process frees.

A lock is a small file with the name of its holder, who touches it every few seconds: a sign of life. Locks of
the kernel (`flock`) would be simpler, but many network disks do not have them. Whether a holder on this
host lives, the kernel knows. Another host's holder counts as dead after two minutes without a sign of life.
"""

import contextlib
import dataclasses
import datetime
import json
import math
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Protocol

from jax_uda.common import disk_errors

HEARTBEAT = 15.0  # seconds between two signs of life
EXPIRES = 120.0  # seconds without one, after which a holder on another host counts as dead
_POLL = 1.0  # seconds between two looks at another's lock


@dataclasses.dataclass(frozen=True)
class Holder:
  """The process that has a lock.

  Attributes:
    host: Name of its machine.
    pid: Number of the process there.
    since: When it took the lock, local time with its zone.
    numbering: Boot and namespace that the number belongs to; empty where the system does not say.
    born: When the process started, in the kernel's ticks; numbers are used again, this is not.
    token: Unique to this taking of the lock.
  """

  host: str = "unknown"
  pid: int = 0
  since: str = "an unknown time"
  numbering: str = ""
  born: str = ""
  token: str = ""

  def __str__(self) -> str:
    """Part of a sentence."""
    return f"process {self.pid} on {self.host} since {self.since}"


class Lease(Protocol):
  """A lock with a holder. `FileLease` keeps it in a file; a bucket would keep it in an object."""

  def take(self, holder: Holder) -> Holder | None:
    """Takes the lock unless somebody has it; returns who has it, or None if it is `holder` now."""
    ...

  def replace(self, old: Holder, holder: Holder) -> bool:
    """Takes the lock from a dead holder; False if somebody else has been quicker."""
    ...

  def renew(self, holder: Holder) -> bool:
    """Gives a sign of life; False if the lock is not the holder's any more."""
    ...

  def age(self) -> float:
    """Seconds since the last sign of life, by the clock of the place where the lock is kept."""
    ...

  def release(self, holder: Holder) -> None:
    """Frees the lock if it is still the holder's."""
    ...


class FileLease:
  """A lock in a file that only one process can create, also on a network disk."""

  def __init__(self, path: pathlib.Path):
    """Takes the file; its folder must exist."""
    self.path = path

  def take(self, holder: Holder) -> Holder | None:
    """Creates the file; see `Lease`.

    Raises:
      OSError: The folder is missing or cannot be written.
    """
    try:
      descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
      return self._read()
    try:
      with disk_errors.naming(self.path), os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(dataclasses.asdict(holder)))
    except OSError:  # a lock without a name would keep everybody out
      self.path.unlink(missing_ok=True)
      raise
    return None

  def _read(self) -> Holder:
    """Who has the lock; an unknown process if the file is just being written, damaged or gone."""
    for _ in range(10):
      try:
        return Holder(**json.loads(self.path.read_bytes()))
      except FileNotFoundError:
        break
      except (OSError, ValueError, TypeError):
        time.sleep(0.05)
    return Holder()

  def replace(self, old: Holder, holder: Holder) -> bool:
    """Moves the dead holder's file away, which only one process can do; see `Lease`."""
    aside = self.path.with_name(f"{self.path.name}.{holder.token}")
    try:
      self.path.rename(aside)
    except FileNotFoundError:
      return False
    moved = FileLease(aside)._read()
    if moved.token != old.token:  # another process had taken over already: give it back
      with contextlib.suppress(OSError):
        os.link(aside, self.path)
      aside.unlink()
      return False
    aside.unlink()
    return self.take(holder) is None

  def renew(self, holder: Holder) -> bool:
    """Touches the file, or makes it anew if somebody has removed it; see `Lease`."""
    try:
      if Holder(**json.loads(self.path.read_bytes())).token != holder.token:
        return False
      os.utime(self.path)
    except FileNotFoundError:
      with contextlib.suppress(OSError):
        return self.take(holder) is None
    except (OSError, ValueError, TypeError):
      pass  # a disk that does not answer for a while is not a loss of the lock
    return True

  def age(self) -> float:
    """Compares two files of the same disk, since clocks of two hosts may differ; see `Lease`."""
    probe = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
    try:
      probe.touch()
      with self.path.open("rb") as file:  # opening asks a network disk anew
        return probe.stat().st_mtime - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
      return math.inf  # it is free
    except OSError:
      return 0.0
    finally:
      probe.unlink(missing_ok=True)

  def holder_is_this_process(self) -> bool:
    """Whether this very process has the lock already."""
    if not self.path.exists():
      return False
    other, me = self._read(), this_process()
    return dataclasses.replace(other, since="", token="") == dataclasses.replace(
      me, since="", token=""
    )

  def release(self, holder: Holder) -> None:
    """Removes the file; see `Lease`."""
    with contextlib.suppress(OSError):
      if self._read().token == holder.token:
        self.path.unlink()


def _numbering() -> str:
  """What the numbers of processes belong to: the boot of the machine, and the container."""
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"
  except OSError:
    return ""


def _birth(pid: int) -> str | None:
  """The start of a process, in ticks; "" where the system does not say; None if it is dead."""
  try:
    # The second field is the program's name in brackets, which may hold anything.
    fields = (
      pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    )
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended
  except FileNotFoundError:
    if pathlib.Path("/proc/self/stat").exists():
      return None
  except (OSError, IndexError):
    return ""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return None
  except OSError:
    pass
  return ""


def this_process() -> Holder:
  """This process as the holder of a lock that it is about to take."""
  since = datetime.datetime.now().astimezone().isoformat(" ", timespec="seconds")
  pid = os.getpid()
  birth = _birth(pid) or ""
  return Holder(socket.gethostname(), pid, since, _numbering(), birth, uuid.uuid4().hex)


def _is_dead(holder: Holder) -> bool | None:
  """Whether a holder has ended; None if it is on another host, of which this one knows nothing."""
  me = this_process()
  if not holder.pid or (holder.host, holder.numbering) != (me.host, me.numbering):
    return None
  birth = _birth(holder.pid)
  return birth is None or bool(holder.born and birth and birth != holder.born)


def _is_dead_elsewhere(lease: Lease, holder: Holder, say: Callable[[str], None]) -> bool:
  """Watches the lock of another host until there is a sign of life or has been none for too long."""
  age = lease.age()
  if age > EXPIRES:
    return True
  say(f"waiting up to {EXPIRES:.0f} s for a sign of life of {holder}, which has the lock")
  while True:
    time.sleep(_POLL)
    before, age = age, lease.age()
    if age < before:
      return False
    if age > EXPIRES:
      return True


@contextlib.contextmanager
def hold(
  lease: Lease,
  busy: Callable[[Holder], str],
  *,
  wait: bool = False,
  say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> Iterator[None]:
  """Holds a lock inside the block.

  Args:
    lease: The lock.
    busy: The sentence about another process that has it.
    wait: Whether to wait for that process, and say so once; else the sentence is an error.
    say: Prints a line.

  Raises:
    ValueError: Another process has the lock, and `wait` is false.
    OSError: The lock cannot be written.
  """
  me, said = this_process(), False
  while (other := lease.take(me)) is not None:
    dead = _is_dead(other)
    if dead is None and not wait:
      dead = _is_dead_elsewhere(lease, other, say)
    elif dead is None:
      dead = lease.age() > EXPIRES
    if dead:
      if lease.replace(other, me):
        say(f"took over the lock of {other}, which has ended without freeing it")
        break
    elif not wait:
      raise ValueError(busy(other))
    elif not said:
      say(f"{busy(other)}; waiting for it")
      said = True
    if not dead:
      time.sleep(_POLL)
  stop = threading.Event()
  thread = threading.Thread(target=_give_signs_of_life, args=(lease, me, stop), daemon=True)
  thread.start()
  try:
    yield
  finally:
    stop.set()
    thread.join()
    lease.release(me)


def _give_signs_of_life(lease: Lease, me: Holder, stop: threading.Event) -> None:
  """Renews a lock until `stop`; ends the process if another one has taken it over."""
  while not stop.wait(HEARTBEAT):
    if lease.renew(me) or stop.is_set():
      continue
    # This process was stopped for so long that it counted as dead. Two must not write one folder, and
    # every file is written whole or not at all, so that leaving at once damages nothing.
    print(
      "error: another process has taken over the lock of this one, which ends here", file=sys.stderr
    )
    sys.stderr.flush()
    os._exit(1)


def hold_folder(folder: pathlib.Path, title: str) -> contextlib.AbstractContextManager[None]:
  """Waits until no other process works at `folder`, which need not exist, and keeps others waiting.

  Args:
    folder: A folder that is written whole or not at all; the lock lies beside it.
    title: What is done there, e.g. "a data set is being prepared".
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  lease = FileLease(folder.with_name(f".{folder.name}.lock"))
  return hold(lease, lambda other: f"{title} in {folder} by {other}", wait=True)
