"""The recorded numbers of the reference implementations on this device, in float32."""

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import measure

# Kernels, state updates, encoders, and whole training steps.
FOLDERS = {
  "losses": "tests/losses",
  "memory": "tests/memory",
  "models": "tests/models",
  "steps": "tests/methods",
}
DRY = {"losses": "tests/losses/test_cross_entropy.py"}


def figures_of(folder: str, platform: str, precision: str) -> dict[str, object]:
  """How many recorded files agree."""
  environment = os.environ | {
    "JAX_PLATFORMS": "cuda,cpu" if platform == "gpu" else platform,
    "JAX_DEFAULT_MATMUL_PRECISION": precision,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
  }
  select = ["-k", "golden", "-m", "not long", "-n", "3", "-p", "no:cacheprovider", "-rf", "-vv"]
  limit = float(os.environ.get("DEADLINE", "inf")) - time.time()
  with tempfile.TemporaryFile("w+") as log:
    process = subprocess.Popen(
      [sys.executable, "-m", "pytest", folder, *select],
      env=environment,
      stdout=log,
      stderr=log,
      start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(max(limit, 1) if limit != float("inf") else None)
    stopped = process.poll() is None
    if stopped:
      os.killpg(process.pid, signal.SIGKILL)
    log.seek(0)
    text = log.read()
  outcomes = re.findall(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|SKIPPED) (\S+)", text, re.MULTILINE)
  counts = collections.Counter(outcome.lower() for outcome, _ in outcomes)
  return {
    "platform": platform,
    "matmul_precision": precision,
    **counts,
    "stopped_before_its_end": stopped,
    "failed_tests": [name for outcome, name in outcomes if outcome == "FAILED"],
    "differences": re.findall(r"Max (?:absolute|relative) difference[^:]*: (\S+)", text),
    "output": "" if counts["passed"] and not counts["failed"] else text[-20000:],
  }


if __name__ == "__main__":
  args = measure.arguments(__doc__)
  import jax

  platform = jax.devices()[0].platform
  results = measure.Results(args.results)
  folders = DRY if args.dry else FOLDERS
  for name in [args.only] if args.only else folders:
    # By default a GPU multiplies float32 in TF32, with 10 bits.
    results.attempt(name, lambda: figures_of(folders[name], platform, "highest"))  # noqa: B023
