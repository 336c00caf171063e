import os
import resource
import subprocess
import sys

import pytest

# Asks for 64 MiB again and again, as a training step does, and counts the pages the kernel had to clear.
# Whole megabytes at once, as some machines hand out, would hide them.
PROGRAM = """
import ctypes
import resource
import numpy as np
from jax_uda import host_memory
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
kept = host_memory.keep_freed()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**26, np.uint8)
before = faults()
for _ in range(5):
  np.ones(2**26, np.uint8)
print(int(kept), faults() - before)
"""
PAGES = 5 * 2**26 // resource.getpagesize()

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts Linux's pages")


def run(**environment):
  plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
  plain = {k: v for k, v in plain.items() if k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    capture_output=True,
    text=True,
    check=True,
    env=plain | environment,
  )
  return tuple(map(int, done.stdout.split()))


def test_freed_memory_is_used_again():
  kept, faults = run()
  if not kept:
    pytest.skip("another C library than glibc")
  assert faults < PAGES / 100


def test_settings_of_the_environment_stay():
  kept, faults = run(MALLOC_TOP_PAD_="1000000")
  assert not kept and faults > PAGES / 2
