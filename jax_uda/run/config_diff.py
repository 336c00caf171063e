"""Configs as plain values, and what differs between two of them."""

from typing import Any

from jax_uda.common import platform
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

# What may change between a run and its continuation, since it does not touch the parameters.
FREE_FIELDS = (
  "devices",
  "fsdp",
  "on_nonfinite",
  "max_skips",
  "schedule.scale_from",  # `record.check_config` looks at the steps that are trained
  "init_required",
  "log_every_steps",
  "checkpoint",
  "eval",
  "panel_images",
  "views_every_steps",
  "projection",
  "stop_step",
  "compare",
  "report",
  "data.dir",
  "data.store",
  "data.num_threads",
  "data.cache_mbytes",
)


def to_plain(config: ConfigDict) -> dict[str, Any]:
  """Nested dicts, lists and scalars, as JSON would give them back."""

  def plain(value: Any) -> Any:
    if isinstance(value, dict | ConfigDict):
      return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value

  return plain(config)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
  """The leaves of nested dicts by their path with dots; an empty dict is a leaf, too."""
  if not isinstance(value, dict) or not value:
    return {prefix: value}
  return {
    name: leaf
    for key, item in value.items()
    for name, leaf in flatten(item, f"{prefix}.{key}" if prefix else key).items()
  }


def _defaults_since(there: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
  defaults = flatten(to_plain(config_lib.default()))
  return {
    field: value
    for field, value in here.items()
    if field not in there and field in defaults and value == defaults[field]
  }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
  """Describes every field that decides the parameters and differs between two plain configs.

  Returns:
    Texts `config.<field>: <value> there, <value> here`, sorted by field.
  """
  there, here = flatten(old), flatten(new)
  # A run of an earlier version lacks fields that were added since; it ran with what is their default.
  there = {**_defaults_since(there, here), **there}
  for values in (there, here):
    if values.get("compute_dtype") == "auto":
      values["compute_dtype"] = platform.automatic_dtype(platform.name())
  has_fields = lambda group: any(name.startswith(f"{group}.") for name in (*there, *here))
  is_free = lambda field: any(field == free or field.startswith(f"{free}.") for free in FREE_FIELDS)
  show = lambda values, field: repr(values[field]) if field in values else "nothing"
  return [
    f"config.{field}: {show(there, field)} there, {show(here, field)} here"
    for field in sorted(there.keys() | here.keys())
    if there.get(field) != here.get(field) and not has_fields(field) and not is_free(field)
  ]
