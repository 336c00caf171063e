"""Every benchmark runs to its end at a small size; what it measures is not looked at."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = (
  "checksums.py --mebibytes=1 --turns=1",
  "demo_step.py --steps=1",
  "host_memory.py --turns=1 --steps=1",
  "kernels.py --repeats=1 --scale=64",
  "methods.py --methods=source_only --turns=1 --size=32x64",
  "models.py --size=64",
  "pipeline.py --images=2 --turns=1 --batches=1",
  "scaling.py --help",
  "soak.py --minutes=0 --steps=8 --out=/dev/null",
  "stores.py --images=2 --turns=1 --batches=1",
)
# What the others import.
PARTS = {"dense_kernels.py", "method_terms.py", "torch_demo_step.py", "torch_kernels.py"}


def test_each_is_tried():
  scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")}
  assert {command.split()[0] for command in COMMANDS} == scripts - PARTS


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_benchmark(command):
  script, *flags = command.split()
  done = subprocess.run(
    [sys.executable, f"benchmarks/{script}", *flags], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr
