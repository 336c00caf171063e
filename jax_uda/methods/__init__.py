"""Methods by name: a new one is a file here, a line in `METHODS`, and a config."""

from typing import Any

from jax_uda import config, options
from jax_uda.methods.base import Method, Task
from jax_uda.methods.dacs import dacs
from jax_uda.methods.daformer import daformer
from jax_uda.methods.sepico import sepico
from jax_uda.methods.source_only import source_only

METHODS = {"dacs": dacs, "daformer": daformer, "sepico": sepico, "source_only": source_only}


def build(task: Task, *, name: str = "", **settings: Any) -> Method:
  """The method `name` with `config.method`'s other fields as keyword arguments.

  Raises:
    ValueError: The method or one of its settings is unknown.
  """
  function = options.lookup(METHODS, name, "method.name")
  try:
    return config.call(function, "method", task, **settings)
  except TypeError as error:  # of a method that hands settings on to another
    raise ValueError(f"config.method: {error}.") from None
