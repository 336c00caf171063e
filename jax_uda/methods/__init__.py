"""Methods by name: a new one is a file here, a line in `METHODS`, and a config."""

import types
from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods import extension
from jax_uda.methods._adv_seg import adv_seg
from jax_uda.methods._cluda import add_entropy_cropped, add_pixel_contrasted, cluda
from jax_uda.methods._confeti import confeti
from jax_uda.methods._confetii import confetii
from jax_uda.methods._dacs import dacs, daformer
from jax_uda.methods._mic import add_masked, mic
from jax_uda.methods._min_entropy import min_entropy
from jax_uda.methods._pixel_loss import add_pixel_loss
from jax_uda.methods._rccr import add_region_consistent, rccr
from jax_uda.methods._sepico import sepico
from jax_uda.methods._source_only import source_only
from jax_uda.methods._spcl import add_similarity, spcl
from jax_uda.methods._spcl_stages import spcl_contrast, spcl_self_training, spcl_warm_up
from jax_uda.methods._translator import add_translated
from jax_uda.methods._vfm_uda import vfm_uda
from jax_uda.methods._vfm_uda_plus import vfm_uda_plus
from jax_uda.step.method import Method, Task

__all__ = [
  "add_entropy_cropped",
  "add_masked",
  "add_pixel_contrasted",
  "add_pixel_loss",
  "add_region_consistent",
  "add_similarity",
  "add_translated",
  "adv_seg",
  "build",
  "cluda",
  "confeti",
  "confetii",
  "dacs",
  "daformer",
  "mic",
  "min_entropy",
  "rccr",
  "sepico",
  "source_only",
  "spcl",
  "spcl_contrast",
  "spcl_self_training",
  "spcl_warm_up",
  "vfm_uda",
  "vfm_uda_plus",
]

# Called with the task and the settings.
METHODS: dict[str, Callable[..., Method]] = {
  "adv_seg": adv_seg,
  "cluda": cluda,
  "confeti": confeti,
  "confetii": confetii,
  "dacs": dacs,
  "daformer": daformer,
  "mic": mic,
  "min_entropy": min_entropy,
  "rccr": rccr,
  "sepico": sepico,
  "source_only": source_only,
  "spcl": spcl,
  "spcl_contrast": spcl_contrast,
  "spcl_self_training": spcl_self_training,
  "spcl_warm_up": spcl_warm_up,
  "vfm_uda": vfm_uda,
  "vfm_uda_plus": vfm_uda_plus,
}

# Called with the task, the method so far and the settings.
COMPONENTS: dict[str, Callable[..., Method]] = {
  "entropy_cropped": add_entropy_cropped,
  "masked": add_masked,
  "pixel_contrasted": add_pixel_contrasted,
  "pixel_loss": add_pixel_loss,
  "region_consistent": add_region_consistent,
  "similarity": add_similarity,
  "translated": add_translated,
}


def build(
  task: Task,
  *,
  name: str = "",
  also: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
  **settings: Any,
) -> Method:
  """A method from plain settings, as a config has them.

  Args:
    task: What the method must know of the data.
    name: A key of `METHODS`, or "module:name" for a function in a module of the user.
    also: Components that other methods bring: by name of `COMPONENTS`, their keyword arguments, added
      in alphabetical order. With a field `function`, "module:name", the component is a function in a
      module of the user.
    **settings: Keyword arguments of the method.

  Raises:
    SettingError: The method, a component or one of the settings is unknown.
  """
  function = registry.choose(METHODS, name, "method.name")
  if not isinstance(also, Mapping) and not hasattr(also, "items"):
    raise SettingError(
      "method.also", f"= {also!r} must give each component its settings: {{'masked': {{}}}}."
    )
  method = registry.call(function, "method", task, **settings)
  for component, arguments in sorted(also.items()):
    field, arguments = f"method.also.{component}", dict(arguments)
    users = arguments.pop("function", "")
    add = (
      registry.imported(users, f"{field}.function")
      if users
      else registry.lookup(COMPONENTS, component, "method.also")
    )
    method = extension.add(add, field, task, method, **arguments)
  return method
