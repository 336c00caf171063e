"""How the processes of a run come together; `tests/run/test_processes.py` has whole runs."""

import io
import socket
import subprocess
import sys

import pytest

from jax_uda.cli import command, distributed, supervisor
from jax_uda.run import interruption

pytestmark = pytest.mark.fast


def test_a_place_is_read():
  assert distributed.parse("10.0.0.1:1234,4,3") == ("10.0.0.1:1234", 4, 3)
  assert distributed.parse("[::1]:1234,1,0").address == "[::1]:1234"


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    ("127.0.0.1,2,0", "'127.0.0.1' is no HOST:PORT"),
    (":1234,2,0", "':1234' is no HOST:PORT"),
    ("host:port,2,0", "is no HOST:PORT"),
    ("host:70000,2,0", "a port from 1 to 65535"),
    ("host:1234,2,2", "INDEX = 2 must be one of 0 to COUNT - 1 = 1"),
    ("host:1234,0,0", "INDEX = 0"),
    ("host:1234,2", "must be 'auto' or HOST:PORT,COUNT,INDEX"),
    ("everywhere", "must be 'auto' or HOST:PORT,COUNT,INDEX"),
  ],
)
def test_a_place_that_cannot_be_is_refused(text, sentence):
  with pytest.raises(ValueError, match=sentence):
    distributed.start(text, timeout=1)


def test_an_address_of_another_machine_or_a_port_in_use_is_named():
  with pytest.raises(ValueError, match=r"cannot listen on 192\.0\.2\.1:4001"):
    distributed.start("192.0.2.1:4001,2,0", timeout=1)
  with socket.socket() as other:
    other.bind(("127.0.0.1", 0))
    other.listen()
    address = f"127.0.0.1:{other.getsockname()[1]}"
    with pytest.raises(ValueError, match="Address already in use.*PORT be free"):
      distributed.start(f"{address},2,0", timeout=1)


def test_only_a_distributed_run_without_a_parent_gets_one(monkeypatch):
  assert supervisor.is_needed(["--config=x", "--distributed=auto"])
  assert supervisor.is_needed(["-distributed", "auto"])
  assert not supervisor.is_needed(["--config=x", "--distributed_timeout=5"])
  monkeypatch.setenv(supervisor._PIPE, "3")
  assert not supervisor.is_needed(["--distributed=auto"])


OF_PEER = b"""E1128 03:04:54.600057 17274 coordination_service.cc:1549] [82] UNAVAILABLE: The following tasks \
are unhealthy (stopped sending heartbeats):
1
3
The tasks have crashed.
F1128 03:04:54.600609 17285 client.h:80] Terminating process because ...
*** Check failure stack trace: ***
    @ 0x7fa15e240634
"""
OF_LEADER = b"F1128 03:04:19.735636 16421 client.h:80] UNAVAILABLE: Either the leader task was preempted\n@ 0x7\n"


@pytest.mark.parametrize(
  ("lines", "sentence"), [(OF_PEER, "process 1 and process 3 of"), (OF_LEADER, "process 0 of")]
)
def test_the_processes_that_are_gone_are_named_and_the_stack_is_kept_back(lines, sentence):
  shown = io.BytesIO()
  kept = supervisor._forward(io.BytesIO(b"a warning\nprogress 3 %" + b"\n" + lines), shown)
  assert shown.getvalue() == b"a warning\nprogress 3 %\n"
  text, code = supervisor._cause(6, kept, has_connected=True)
  assert text.startswith(sentence) and code == 75


def test_other_ends_of_a_child_are_said():
  assert "ended by SIGKILL" in supervisor._cause(9, "", has_connected=True)[0]
  text, code = supervisor._cause(6, "", has_connected=False)
  assert "did not come together" in text and code == 1


def test_the_exit_code_of_a_child_is_passed_on(monkeypatch, capfdbinary):
  monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", "raise SystemExit('error: no')"])
  monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
  assert supervisor.run() == 1


# The child ends as JAX ends a process that still waits for one which has left.
TOLD = """
import os, signal, sys, time
from jax_uda.cli import supervisor
if supervisor.is_needed(["--distributed=auto"]):
  sys.exit(supervisor.run())
signal.signal(signal.SIGTERM, lambda *_: os.abort())
print("ready", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_told_to_stop_while_it_waits_for_the_others_asks_for_the_same_command():
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
  process = subprocess.Popen([sys.executable, "-c", TOLD], **pipes)
  assert process.stdout and process.stdout.readline() == "ready\n"
  process.terminate()
  out, _ = process.communicate(timeout=60)
  assert process.returncode == interruption.EXIT_CODE
  assert out == "stopped before all processes had come together; the same command continues\n"


def end_of_error(error, monkeypatch, capsys):
  """The exit code and the text with which an error in a process of a run ends it."""
  monkeypatch.setattr(distributed, "HEARTBEAT", -5)  # the service has not ended this process
  codes = []
  monkeypatch.setattr(distributed.os, "_exit", codes.append)
  distributed.fail(error, command.sentence_of(error))
  return codes, capsys.readouterr().err


def test_an_exchange_that_fails_though_no_process_is_gone_asks_for_the_same_command(
  monkeypatch, capsys
):
  error = RuntimeError("UNKNOWN: Gloo context initialization failed: DEADLINE_EXCEEDED\nmore")
  codes, text = end_of_error(error, monkeypatch, capsys)
  assert codes == [interruption.EXIT_CODE] and text.count("\n") == 1
  assert "did not answer in time" in text and "the same command on all processes" in text


def test_a_mistake_ends_one_process_of_a_run_with_its_sentence(monkeypatch, capsys):
  error = ValueError("config.data.dir: \x1b[31m is unavailable")
  assert end_of_error(error, monkeypatch, capsys) == (
    [1],
    "error: config.data.dir: \\x1b[31m is unavailable\n",
  )
