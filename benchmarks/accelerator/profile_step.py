"""Where a step's time goes on the device, by kernel."""

import collections
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import Any

import jax


def slowest(run: Callable[[], None], seconds: float, count: int = 25) -> dict[str, Any]:
  """The kernels that take the most time in one run.

  Args:
    run: Runs the step and waits for it.
    seconds: Time of a run without the profiler.
    count: Number of kernels.

  Returns:
    Milliseconds by kernel, over all its launches; the number of launches; and the device's busy time as a share
    of `seconds`.
  """
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      run()
    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    profile = jax.profiler.ProfileData.from_file(str(path))
  times, launches, groups = collections.Counter(), 0, collections.Counter()
  for plane in profile.planes:
    if not plane.name.startswith("/device:"):
      continue
    for line in plane.lines:
      if not line.name.startswith("Stream"):
        continue
      for event in line.events:
        times[event.name] += event.duration_ns
        groups[_group(event.name)] += event.duration_ns
        launches += 1
  as_ms = lambda counter: {name: round(t / 1e6, 3) for name, t in counter.most_common(count)}
  busy = sum(times.values()) / 1e9
  return {
    "launches": launches,
    "busy_share": round(busy / seconds, 3),
    "groups_ms": as_ms(groups),
    "kernels_ms": as_ms(times),
  }


def _group(name: str) -> str:
  """A kernel's name without numbers, shortened: like kernels together."""
  return re.sub(r"[\d.]+", "", name)[:60]
