"""Memory of the process: what was freed is kept for the next step.

On a CPU, XLA asks the C library anew for the temporaries of each step, and so does NumPy for each batch.
glibc takes blocks of that size from the kernel and gives them back at once; the kernel clears every page
before it hands it out again, which takes longer than some training steps (`benchmarks/host_memory.py`).
"""

import ctypes
import os
import sys

# From <malloc.h>: parameter of mallopt, value.
_KEEP = (
  (-4, 0),  # M_MMAP_MAX: no block of its own from the kernel, whatever its size
  (-1, -1),  # M_TRIM_THRESHOLD: nothing is given back
  (-2, 64 * 2**20),  # M_TOP_PAD: bytes asked for in advance
  (-8, 1),  # M_ARENA_MAX: arenas of threads cannot hold large blocks
)


def keep_freed() -> bool:
  """Lets glibc keep freed memory; the process needs as much as at its peak, to its end.

  To be called before threads are started. Does nothing if the environment has settings of its own
  (`MALLOC_…`, `GLIBC_TUNABLES`, or another allocator by `LD_PRELOAD`), or with another C library.

  Returns:
    Whether it does.
  """
  own = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
  if not sys.platform.startswith("linux") or any(name.startswith(own) for name in os.environ):
    return False
  c_library = ctypes.CDLL(None)
  if not hasattr(c_library, "gnu_get_libc_version"):  # no mallopt, or one with other parameters
    return False
  return all(c_library.mallopt(name, value) for name, value in _KEEP)
