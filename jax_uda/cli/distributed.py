"""Runs of several processes: how they come together, and how one of them ends."""

import os
import re
import socket
import sys
import time
from typing import NamedTuple

from jax_uda.cli import supervisor
from jax_uda.run import interruption

HEARTBEAT = 20  # seconds without a sign of life after which a process counts as gone
_FORM = "'auto' or HOST:PORT,COUNT,INDEX"
# In errors of a collective operation whose other end is gone.
_LOST = re.compile(r"gloo|nccl|rccl|connection (reset|closed)|unavailable|coordination", re.I)


class Place(NamedTuple):
  """One process of a run.

  Attributes:
    address: `HOST:PORT` of process 0.
    count: The number of processes.
    index: Which one this is.
  """

  address: str
  count: int
  index: int


def parse(text: str) -> Place:
  """The place that a flag names.

  Raises:
    ValueError: It is not of the form HOST:PORT,COUNT,INDEX.
  """
  flag = f"--distributed={text}"
  match = re.fullmatch(r"([^,]*),(-?\d+),(-?\d+)", text)
  if not match:
    raise ValueError(f"{flag} must be {_FORM}, e.g. 10.0.0.1:1234,2,0")
  address, count, index = match[1], int(match[2]), int(match[3])
  host, colon, port = address.rpartition(":")
  if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(
      f"{flag}: {address!r} is no HOST:PORT with a port from 1 to 65535, e.g. 10.0.0.1:1234"
    )
  if count < 1 or not 0 <= index < count:
    raise ValueError(f"{flag}: INDEX = {index} must be one of 0 to COUNT - 1 = {count - 1}")
  return Place(address, count, index)


def start(text: str, timeout: int) -> None:
  """Brings the processes of a run together.

  Args:
    text: The flag: "auto", or the form of `parse`.
    timeout: Seconds to wait for the others.

  Raises:
    ValueError: The flag is wrong, or its COUNT is not that of the others.
  """
  place = None if text == "auto" else parse(text)
  if place and place.index == 0:
    _check_can_listen(place.address)
  import jax

  supervisor.end_with_parent()
  # Signals are ours: all processes agree on the step by `run.agreement`.
  jax.config.update("jax_enable_preemption_service", False)
  jax.distributed.initialize(
    place and place.address,
    place and place.count,
    place and place.index,
    coordinator_bind_address=place and place.address,
    initialization_timeout=timeout,
    heartbeat_timeout_seconds=HEARTBEAT,
  )
  if place:
    _check_counts(place, timeout)
  _connect()
  supervisor.say_connected()
  interruption.current().alone = False


def _check_can_listen(address: str) -> None:
  """Raises ValueError if process 0 cannot listen on its address; the service would end by SIGSEGV."""
  host, _, port = address.rpartition(":")
  try:
    families = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    with socket.socket(families[0][0], socket.SOCK_STREAM) as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind(families[0][4])
  except OSError as error:
    raise ValueError(
      f"--distributed: process 0 cannot listen on {address} ({error.strerror}); HOST must be an address of "
      "the machine of process 0, and PORT be free there"
    ) from None


def _check_counts(place: Place, timeout: int) -> None:
  """Raises ValueError if this process has another COUNT than process 0."""
  from jax._src import distributed as service  # the only way to JAX's store of keys and values

  client = service.global_state.client
  if client is None:
    return
  if place.index == 0:
    client.key_value_set("jax_uda/count", str(place.count))
  count = int(client.blocking_key_value_get("jax_uda/count", 1000 * timeout))
  if count != place.count:
    raise ValueError(
      f"--distributed: process {place.index} has COUNT = {place.count}, process 0 has COUNT = {count}; "
      "all processes must have the same"
    )


def _connect() -> None:
  """Connects the processes for all later exchanges, while none of them is ahead of the others.

  On CPUs they connect at their first exchange and wait 30 seconds for it, which cannot be changed: too short
  where one of them compiles, or is starved, for longer. There is one connection of all devices, and one of the
  first, second, … devices of each process.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np
  from jax.experimental import multihost_utils

  from jax_uda.common import mesh as mesh_lib

  if jax.default_backend() != "cpu" or jax.process_count() == 1:
    return
  mesh = mesh_lib.data_mesh()
  rows = mesh_lib.put_batch(mesh, np.zeros(jax.local_device_count(), np.int32))
  jax.block_until_ready(jax.jit(jnp.sum, out_shardings=mesh_lib.replicated(mesh))(rows))
  multihost_utils.process_allgather(np.zeros(1, np.int32))


def is_on() -> bool:
  """Whether this is a process of a distributed run; JAX is not loaded for the question."""
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def part() -> None:
  """Waits for the other processes, which end too, so that none takes another for lost."""
  if is_on():
    sys.modules["jax"].distributed.shutdown()


def fail(error: Exception, sentence: str) -> None:
  """Ends this process with an error, without waiting for the others as JAX would.

  If the other end of a collective operation is gone, the service finds out which process that is, and ends
  this one: `supervisor` has the sentence. If no process is gone, the others are late; starting again helps.

  Args:
    error: The error.
    sentence: What the user is told of it.
  """
  code = 1
  if isinstance(error, RuntimeError) and _LOST.search(str(error)):
    time.sleep(HEARTBEAT + 5)
    sentence = (
      "the other processes of this run did not answer in time, though none is gone. All of them end; the same "
      f"command on all processes continues from the last checkpoint ({_first_line(sentence)})"
    )
    code = interruption.EXIT_CODE
  print(f"error: {sentence}", file=sys.stderr, flush=True)
  os._exit(code)


def _first_line(text: str) -> str:
  """The beginning of a library's message, which may run over pages."""
  line = text.strip().splitlines()[0]
  return f"{line[:200]}…" if len(line) > 200 else line
