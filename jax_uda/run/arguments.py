"""The arguments of a recipe: what follows the colon of `--config=configs/demo.py:seed=1,smoke`."""

from typing import Any

from jax_uda.common import registry
from jax_uda.run.config_dict import ConfigDict


def parse(text: str, **defaults: Any) -> ConfigDict:
  """Reads `key=value,flag`; `flag` alone means True.

  Args:
    text: What follows the colon.
    **defaults: The known names with their default values; a value takes the type of its default.

  Raises:
    ValueError: A name is unknown, or a value has the wrong type.
  """
  arguments = dict(defaults)
  for item in filter(None, (part.strip() for part in (text or "").split(","))):
    name, equals, value = item.partition("=")
    kind = type(registry.lookup(defaults, name, "<argument>"))
    if not equals and kind is not bool:
      raise ValueError(f"{name} in the config's argument needs a value: {name}=….")
    try:
      if kind is bool:
        booleans = {"": True, "1": True, "true": True, "0": False, "false": False}
        arguments[name] = booleans[value.lower()]
      else:
        arguments[name] = kind(value)
    except (KeyError, ValueError):
      message = f"{name}={value!r} in the config's argument is not of type {kind.__name__}."
      raise ValueError(message) from None
  return ConfigDict(arguments)
