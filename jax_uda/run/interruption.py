"""What happens when the program is told to stop: SIGTERM of a scheduler, SIGINT of the keyboard.

The first signal finishes the training step, saves, and leaves with `EXIT_CODE`; where nothing is to be
saved (preparing, compiling, evaluating, drawing) it leaves at once. A second signal leaves at once in any
case. Nothing is damaged by that: files appear whole or not at all.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start the same command again
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds. A library that does not come back, as a compiler, is left behind after the first; two signals
# within the second are one: a terminal and a launcher both pass on what they get.
PATIENCE, ECHO = 10.0, 1.0
_NOTHING_TO_SAVE = "stopped, there was nothing to save; the same command continues"


class Stopped(SystemExit):
  """The program was told to stop; its exit code asks for the same command again."""

  def __init__(self, message: str = "stopped; the same command continues"):
    """Takes the sentence for the user."""
    super().__init__(EXIT_CODE)
    self.message = message


class Interruption:
  """Listens to the signals while it is entered; only the main thread of a program may enter it.

  It is in one of two states. While *leaving* is allowed, the first signal raises `Stopped` where the
  program is. While the program is *finishing* something, it has to look at `requested` itself.

  Attributes:
    requested: Whether a signal has come.
    alone: Whether this process may leave without asking others; not in a run of several processes.
  """

  def __init__(self, patience: float = PATIENCE):
    """Waits `patience` seconds for a program that may leave but does not."""
    self.requested = False
    self.alone = True
    self._patience = patience
    self._may_leave, self._may_leave_since = True, 0.0

  def __enter__(self) -> "Interruption":
    """Takes over the signals and returns itself."""
    self._reader, self._writer = os.pipe()
    os.set_blocking(self._writer, False)
    self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
    self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
    self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._not_raised
    # Python runs handlers between two of its own instructions; the thread sees a signal at any time.
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, *_) -> None:
    """Gives the signals back."""
    signal.set_wakeup_fd(self._previous_fd)
    sys.unraisablehook = self._previous_hook
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    os.close(self._writer)  # ends the thread

  @contextlib.contextmanager
  def finishing(self) -> Iterator[None]:
    """In its body a signal only sets `requested`; the body has to look at it."""
    with self._state(may_leave=False):
      yield

  @contextlib.contextmanager
  def leaving(self) -> Iterator[None]:
    """In its body a signal raises `Stopped`, as outside of `finishing`."""
    with self._state(may_leave=True):
      self.check()
      yield

  def check(self) -> None:
    """Raises `Stopped` if a signal has come and this process may leave alone."""
    if self.requested and self.alone:
      raise Stopped

  @contextlib.contextmanager
  def _state(self, may_leave: bool) -> Iterator[None]:
    before = self._may_leave
    self._may_leave, self._may_leave_since = may_leave, time.monotonic()
    try:
      yield
    finally:
      self._may_leave, self._may_leave_since = before, time.monotonic()

  def _handle(self, number: int, frame: Any) -> None:
    """Runs in the main thread, between two instructions."""
    first, self.requested = not self.requested, True
    with contextlib.suppress(OSError):
      os.write(self._writer, b"\0")  # where a library has taken the wake-up away
    if first and self._may_leave:
      self.check()

  def _not_raised(self, unraisable: Any) -> None:
    """Python's hook for exceptions that it cannot raise: leaves if `Stopped` met a destructor or a gc callback."""
    if isinstance(unraisable.exc_value, Stopped):
      leave(_NOTHING_TO_SAVE)
    self._previous_hook(unraisable)

  def _watch(self) -> None:
    """Runs in a thread: announces the first signal, obeys the second, and ends what does not come back."""
    with open(self._reader, "rb", buffering=0) as numbers:
      first = numbers.read(1)
      if not first:
        return
      since = time.monotonic()
      name = signal.Signals(first[0]).name if first[0] else "signal"
      _tell(f"{name}: leaving as soon as everything is safe; a second one leaves at once")
      while True:
        if select.select([numbers], [], [], 0.1)[0]:
          number = numbers.read(1)
          if not number:
            return
          if number[0] and time.monotonic() - since > ECHO:
            leave(
              "second signal: left at once; the same command continues from its last checkpoint"
            )
        waited = time.monotonic() - max(since, self._may_leave_since)
        if self._may_leave and waited > self._patience:
          leave(_NOTHING_TO_SAVE)


def current() -> Interruption:
  """The interruption that listens to the signals; one that never comes, where none does."""
  handler = signal.getsignal(signal.SIGTERM)
  listener = getattr(handler, "__self__", None)
  return listener if isinstance(listener, Interruption) else Interruption()


def leave(message: str) -> None:
  """Ends the process at once with `EXIT_CODE`, from any thread."""
  _tell(message)
  os._exit(EXIT_CODE)


def _tell(message: str) -> None:
  """Prints a line without the locks of `print`, which the main thread may hold."""
  with contextlib.suppress(OSError):
    os.write(1, f"{message}\n".encode())


def in_thread(function: Callable[[], T]) -> T:
  """The result of a function that does not come back for long, such as a compiler.

  It runs in a thread of its own, so that a signal can end the wait.
  """
  results: list[T] = []
  errors: list[BaseException] = []

  def call() -> None:
    try:
      results.append(function())
    except BaseException as error:
      errors.append(error)

  thread = threading.Thread(target=call, daemon=True)
  thread.start()
  while thread.is_alive():
    thread.join(0.2)  # seconds
  if errors:
    raise errors[0]
  return results[0]
