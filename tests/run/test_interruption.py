"""What signals do, apart from a run: `test_training.py` has those of whole runs."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jax_uda.run import interruption

pytestmark = pytest.mark.fast


def tell(number: int = signal.SIGTERM) -> None:
  """Sends a signal to this process."""
  os.kill(os.getpid(), number)
  time.sleep(0.05)  # a handler runs before the next instructions


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_where_nothing_is_to_be_saved_a_signal_leaves_at_once(number):
  with interruption.Interruption(), pytest.raises(interruption.Stopped) as stopped:
    tell(number)
  assert stopped.value.code == interruption.EXIT_CODE == 75


def test_what_is_to_be_finished_is_finished():
  with interruption.Interruption() as stop, stop.finishing():
    assert interruption.current() is stop and not stop.requested
    tell()
    assert stop.requested
    with pytest.raises(interruption.Stopped), stop.leaving():
      pytest.fail("the body must not begin")


def test_a_long_call_inside_may_be_left():
  stop = interruption.Interruption()
  with stop, stop.finishing(), pytest.raises(interruption.Stopped), stop.leaving():
    tell()


def test_one_of_several_processes_does_not_leave_alone():
  with interruption.Interruption() as stop:
    stop.alone = False
    tell()
    assert stop.requested


def test_a_library_use_keeps_its_own_handlers():
  before = signal.getsignal(signal.SIGTERM)
  assert not interruption.current().requested
  with interruption.Interruption():
    pass
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_function_in_a_thread_gives_its_result_or_its_error():
  assert interruption.in_thread(lambda: 3) == 3
  with pytest.raises(ZeroDivisionError):
    interruption.in_thread(lambda: 1 // 0)


def test_the_wait_for_a_function_in_a_thread_may_be_left():
  def work():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)

  began = time.monotonic()
  with interruption.Interruption(), pytest.raises(interruption.Stopped):
    interruption.in_thread(work)
  assert time.monotonic() - began < 3


# Minutes in a library during which no handler of Python's runs, as in a compiler.
PROGRAM = """
import hashlib, sys
from jax_uda.run import interruption
stop = interruption.Interruption(patience=0.2)
with stop, getattr(stop, sys.argv[1])():
  print("ready", flush=True)
  hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def program(state: str) -> subprocess.Popen:
  """A program that is in a library, in a state of the interruption."""
  process = subprocess.Popen(
    [sys.executable, "-c", PROGRAM, state], stdout=subprocess.PIPE, text=True
  )
  assert process.stdout and process.stdout.readline() == "ready\n"
  time.sleep(0.3)  # until it is in there
  return process


def test_what_does_not_come_back_is_left_behind():
  process = program("leaving")
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=20)
  assert process.returncode == interruption.EXIT_CODE
  assert "nothing to save" in out


def test_a_second_signal_leaves_at_once_but_an_echo_is_none():
  process = program("finishing")
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGTERM)
  time.sleep(interruption.ECHO + 0.3)
  assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=20)
  assert process.returncode == interruption.EXIT_CODE
  assert "second signal: left at once" in out


# Python cannot raise what a signal raises while the garbage is collected.
COLLECTING = """
import gc, os, signal, time
from jax_uda.run import interruption
with interruption.Interruption(patience=60):
  gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
  gc.collect()
  time.sleep(30)
"""


def test_a_signal_that_meets_a_callback_of_a_library_leaves_without_a_traceback():
  done = subprocess.run(
    [sys.executable, "-c", COLLECTING], capture_output=True, text=True, timeout=20
  )
  assert done.returncode == interruption.EXIT_CODE
  assert "nothing to save" in done.stdout and "Traceback" not in done.stderr
