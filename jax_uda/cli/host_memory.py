"""Huge pages for the memory of the process.

On a CPU, XLA allocates each step's temporaries, and NumPy each batch, with a fresh `malloc`. glibc gets
blocks of that size from the kernel and returns them at once, and the kernel clears them page by page:
some 400,000 pages per second, up to 40 % of a step (`benchmarks/host_memory.py`). With pages of 2 MiB
instead of 4 KiB that costs next to nothing.
"""

import os
import sys

VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_SINCE = (2, 35)  # the first glibc that knows the setting


def _glibc_version() -> tuple[int, ...]:
  """The version of glibc, e.g. (2, 36); empty with another C library."""
  try:
    name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
  except (AttributeError, ValueError, OSError):  # no such function, name or value
    return ()
  return tuple(map(int, version.split(".")[:2])) if name == "glibc" else ()


def use_huge_pages() -> None:
  """Starts the program again, once, with huge pages; glibc reads its settings only at the start.

  A script calls this first. Nothing happens if `GLIBC_TUNABLES` or `LD_PRELOAD` is set, even to an empty
  text, or with a C library other than glibc 2.35 or newer.
  """
  if VARIABLE in os.environ or "LD_PRELOAD" in os.environ or _glibc_version() < _SINCE:
    return
  os.environ[VARIABLE] = SETTING
  sys.stdout.flush()
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
