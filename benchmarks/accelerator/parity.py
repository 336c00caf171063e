"""The recorded numbers of the reference implementations on this device, in float32."""

import os
import re
import subprocess
import sys

import measure

# Kernels, state updates, an encoder, and whole training steps.
TESTS = ("tests/losses", "tests/memory", "tests/models/encoders", "tests/methods")
DRY = ("tests/losses/test_cross_entropy.py",)


def main() -> None:
  args = measure.arguments(__doc__)
  import jax  # in a process of its own the tests would find no memory left beside this one

  platform = jax.devices()[0].platform
  results = measure.Results(args.results)
  environment = os.environ | {"JAX_PLATFORMS": "cuda" if platform == "gpu" else platform}
  environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  for folder in DRY if args.dry else TESTS:
    done = subprocess.run(
      [
        sys.executable,
        "-m",
        "pytest",
        folder,
        "-k",
        "golden",
        "-m",
        "not long",
        "-p",
        "no:cacheprovider",
      ],
      env=environment,
      capture_output=True,
      text=True,
    )
    counts = dict(
      (what, int(number))
      for number, what in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    worst = re.findall(r"Max (?:absolute|relative) difference[^:]*: (\S+)", done.stdout)
    results.add(folder, {"platform": platform, **counts, "failed": failed, "differences": worst})
    if not counts:
      results.add(f"{folder} output", {"text": done.stdout[-2000:]})


if __name__ == "__main__":
  main()
