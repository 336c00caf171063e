"""Lines for the person who watches a run."""

from jax_uda.common import mesh
from jax_uda.common import text as text_lib


def say(text: str) -> None:
  """Prints a line at once; of several processes only the main one speaks.

  What a terminal would take for a command, e.g. in the name of a file, is escaped.
  """
  if mesh.is_main_process():
    print(text_lib.printable(text), flush=True)
