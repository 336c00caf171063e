"""From the config to what moves the networks: learning rates, the optimizer, and the teacher's rule."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from jax_uda import models
from jax_uda.common import registry
from jax_uda.models.layers.lora import LoRA
from jax_uda.models.layers.rein import Rein
from jax_uda.step import layer_decay as layer_decay_lib
from jax_uda.step import optimizer, teacher
from jax_uda.step.layer_decay import LayerDecay


def schedule_of(group: Mapping[str, Any], num_steps: int) -> optax.Schedule:
  """The learning rate by the step, from the config group `schedule`."""
  settings = dict(group)
  name = settings.pop("name", "warmup_poly")
  changes = settings.pop("scale_from", ())
  function = registry.lookup(optimizer.SCHEDULES, name, "schedule.name")
  schedule = registry.call(function, "schedule", num_steps=num_steps, **settings)
  with registry.within("schedule"):
    return optimizer.scaled_from(schedule, changes)


def teacher_rule_of(group: Mapping[str, Any]) -> teacher.Rule:
  """How the teacher follows the student, from the config group `ema`."""
  rule = registry.call(teacher.Rule, "ema", **group)
  if not 0 <= rule.decay <= 1:
    raise registry.SettingError("ema.decay", f"= {rule.decay} must lie between 0 and 1.")
  return rule


def groups_of(group: Mapping[str, Any], model: Any) -> tuple[optimizer.Group, ...]:
  """The groups of the config, and behind them those of the encoder's adapter."""
  groups = tuple(
    registry.call(optimizer.Group, "optimizer.groups", **settings) for settings in group["groups"]
  )
  adapter = getattr(model.encoder, "adapter", None)
  if not adapter:
    return groups
  rate = optimizer.group_of("decoder/", groups).learning_rate  # it learns as the decoder does
  undecayed = {LoRA: r"/lora_[ab]$", Rein: "^encoder/reins/(learnable_tokens|factor)"}
  groups += (optimizer.Group(undecayed[type(adapter)], rate, weight_decay=0.0),)
  if isinstance(adapter, Rein):
    groups += (optimizer.Group("^encoder/reins/", rate),)
  return groups


def optimizer_of(
  group: Mapping[str, Any], model: models.Segmentor
) -> Callable[..., optax.GradientTransformation]:
  """`optimizer.build` with the settings of the config; takes the schedule and `start_steps`."""
  groups, group = groups_of(group, model), dict(group)
  layer_decay = group.pop("layer_decay", None)
  if layer_decay:
    group["layer_decay"] = _layer_decay(layer_decay, getattr(model.encoder, "depth", None))

  def build(schedule: optax.Schedule, **arguments: Any) -> optax.GradientTransformation:
    settings = {**group, "groups": groups, **arguments}
    with registry.within("optimizer"):
      return registry.call(optimizer.build, (), schedule, **settings)

  return build


def _layer_decay(value: float | Mapping[str, Any], depth: int | None) -> LayerDecay:
  """The layer-wise decay that the config has as a number, or as a group with `decay` and `rule`."""
  path = ("optimizer", "layer_decay")
  settings: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"decay": value}
  settings = ({} if depth is None else {"depth": depth}) | settings
  if "depth" not in settings:
    raise registry.SettingError(
      path, "is for plain Vision Transformers (dinov2_…, dinov3_…), whose blocks are in one row."
    )
  decay = registry.call(LayerDecay, path, **settings)
  registry.lookup(layer_decay_lib.SHIFTS, decay.rule, (*path, "rule"))
  if not 0 < decay.decay <= 1:
    raise registry.SettingError((*path, "decay"), f"= {decay.decay} must lie between 0 and 1.")
  return decay
