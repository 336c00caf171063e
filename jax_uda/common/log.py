"""Lines for the person who watches a run."""

from jax_uda.common import mesh


def say(text: str) -> None:
  """Prints a line at once; of several processes only the main one speaks."""
  if mesh.is_main_process():
    print(text, flush=True)
