"""Huge pages for the memory of the process.

On a CPU, XLA asks the C library anew for the temporaries of each step, and so does NumPy for each batch.
glibc takes blocks of that size from the kernel and gives them back at once, and the kernel clears them page
by page: some 400,000 pages a second, up to 40 % of a step (`benchmarks/host_memory.py`). With pages of
2 MiB in place of 4 KiB that is nearly nothing.
"""

import os
import sys

VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_SINCE = (2, 35)  # of glibc


def _glibc_version() -> tuple[int, ...]:
  """E.g. (2, 36); empty with another C library."""
  try:
    name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
  except (AttributeError, ValueError, OSError):  # no such function, name or value
    return ()
  return tuple(map(int, version.split(".")[:2])) if name == "glibc" else ()


def use_huge_pages() -> None:
  """Starts the program again, once, with a glibc that asks for huge pages; it reads that at the start only.

  To be called first in a script. Does nothing if `GLIBC_TUNABLES` or `LD_PRELOAD` is set, if only to
  nothing, or with another C library.
  """
  if VARIABLE in os.environ or "LD_PRELOAD" in os.environ or _glibc_version() < _SINCE:
    return
  os.environ[VARIABLE] = SETTING
  sys.stdout.flush()
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
