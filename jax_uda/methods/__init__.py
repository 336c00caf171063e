"""Methods by name: a new one is a file here, a line in `METHODS`, and a config."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.methods._cluda import cluda, entropy_cropped, pixel_contrasted
from jax_uda.methods._confeti import confeti
from jax_uda.methods._dacs import dacs, daformer
from jax_uda.methods._mic import masked, mic
from jax_uda.methods._rccr import rccr, region_consistent
from jax_uda.methods._sepico import sepico
from jax_uda.methods._source_only import source_only
from jax_uda.methods._spcl import similarity, spcl
from jax_uda.methods._spcl_stages import spcl_contrast, spcl_self_training, spcl_warm_up
from jax_uda.methods._translator import translated
from jax_uda.methods._vfm_uda import vfm_uda
from jax_uda.step.method import Method, Task

METHODS = {
  "cluda": cluda,
  "confeti": confeti,
  "dacs": dacs,
  "daformer": daformer,
  "mic": mic,
  "rccr": rccr,
  "sepico": sepico,
  "source_only": source_only,
  "spcl": spcl,
  "spcl_contrast": spcl_contrast,
  "spcl_self_training": spcl_self_training,
  "spcl_warm_up": spcl_warm_up,
  "vfm_uda": vfm_uda,
}

# Called with the task, the method so far and the settings.
EXTENSIONS = {
  "entropy_cropped": entropy_cropped,
  "masked": masked,
  "pixel_contrasted": pixel_contrasted,
  "region_consistent": region_consistent,
  "similarity": similarity,
  "translated": translated,
}


def build(
  task: Task,
  *,
  name: str = "",
  also: Mapping[str, Mapping[str, Any]] | None = None,
  **settings: Any,
) -> Method:
  """The method `name` with `config.method`'s other fields as keyword arguments.

  `also` adds what another method brings: by name of `EXTENSIONS`, in alphabetical order, its keyword
  arguments. With a field `function`, "module:name", the extension is that of the user's own module.

  Raises:
    ValueError: The method or one of its settings is unknown, or there is no such function.
  """
  function = registry.lookup(METHODS, name, "method.name")
  if not hasattr(also or {}, "items"):
    raise ValueError(
      f"config.method.also = {also!r} must give each extension its settings: {{'masked': {{}}}}."
    )
  try:
    method = registry.call(function, "method", task, **settings)
    for extra, arguments in sorted((also or {}).items()):
      field, arguments = f"method.also.{extra}", dict(arguments)
      own = arguments.pop("function", "")
      extension = (
        _imported(own, field) if own else registry.lookup(EXTENSIONS, extra, "method.also")
      )
      method = registry.call(extension, field, task, method, **arguments)
    return method
  except TypeError as error:  # of a method that hands settings on to another
    raise ValueError(f"config.method: {error}.") from None


def _imported(name: str, field: str) -> Callable[..., Method]:
  """The function "module:name"."""
  module, _, function = name.partition(":")
  try:
    return getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError, ValueError) as error:
    raise ValueError(
      f"config.{field}.function = {name!r} cannot be imported ({error}); it must be 'module:name', "
      "and the module's folder in PYTHONPATH or the current one."
    ) from None
