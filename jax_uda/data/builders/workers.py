"""Calls a function of an index in several fresh Python processes, in order.

`multiprocessing` would import the caller's main module into every process, wants that module guarded by
`if __name__ == "__main__"`, and leaves its processes behind when the caller is killed. These processes
import only the function's module and end when nobody reads what they write.
"""

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


def num_cpus() -> int:
  """CPUs this process may use."""
  if hasattr(os, "sched_getaffinity"):  # not on macOS
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _start(job: dict[str, Any]) -> subprocess.Popen:
  environment = os.environ | {
    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    "OMP_NUM_THREADS": "1",
  }
  process = subprocess.Popen(
    [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
  )
  with process.stdin as stdin:
    pickle.dump(job, stdin)
  return process


def call_all(
  function: str, num_calls: int, num_processes: int | None = None, **kwargs: Any
) -> Iterator[Any]:
  """Yields `function(index, **kwargs)` for index 0..num_calls-1.

  Args:
    function: `package.module:name`; the module should import little.
    num_calls: Number of calls.
    num_processes: Default: one for each CPU.
    **kwargs: Arguments that can be pickled, as the results must be.

  Raises:
    RuntimeError: A process failed; its own message is on stderr.
  """
  count = max(1, min(num_processes or num_cpus(), num_calls))
  job = dict(function=function, num_calls=num_calls, kwargs=kwargs, step=count)
  with contextlib.ExitStack() as stack:
    processes = []
    for first in range(count):
      process = stack.enter_context(_start(job | {"first": first}))
      stack.callback(process.kill)
      processes.append(process)
    for index in range(num_calls):
      try:
        yield pickle.load(processes[index % count].stdout)
      except EOFError:
        raise RuntimeError(
          f"{function}({index}) failed in its own process; see its message above."
        ) from None


def _work() -> None:
  job = pickle.load(sys.stdin.buffer)
  output, sys.stdout = sys.stdout.buffer, sys.stderr  # a print must not mix with the results
  module, name = job["function"].split(":")
  function = getattr(importlib.import_module(module), name)
  try:
    for index in range(job["first"], job["num_calls"], job["step"]):
      pickle.dump(function(index, **job["kwargs"]), output, pickle.HIGHEST_PROTOCOL)
    output.flush()
  except (BrokenPipeError, KeyboardInterrupt):
    # The reader is gone, or Ctrl-C reached the whole group: nobody to tell.
    os._exit(1)


if __name__ == "__main__":
  _work()
