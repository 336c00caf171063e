"""Optimizers with parameter groups, and the learning-rate schedules of the field.

The update of a parameter in group g at step t is

    p <- p - lr(t) * learning_rate_g * (direction + weight_decay * weight_decay_g * p)

for AdamW (decoupled decay); for SGD the decay is added to the gradient before
the momentum, as PyTorch does. Everything is a chain of optax transformations.
"""

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.step.layer_decay import LayerDecay


class Group(NamedTuple):
  """Parameters whose path (`encoder/stage_0/…/kernel`) matches a regular expression.

  Attributes:
    pattern: Searched for in the path; of several groups the first match counts.
    learning_rate: Multiplies the base learning rate.
    weight_decay: Multiplies the base weight decay.
    repeats: How often a step applies its update, each time with the decay of the parameter as it is
      by then and one more turn of the momentum (RCCR's code, by accident; SGD only).
  """

  pattern: str
  learning_rate: float = 1.0
  weight_decay: float = 1.0
  repeats: int = 1


def path_name(path: tuple[Any, ...]) -> str:
  """A `jax.tree_util` key path as `encoder/stage_0/…/kernel`."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def group_of(path: str, groups: Sequence[Group]) -> Group:
  """The first group that matches `path`; all multipliers are 1 if none does."""
  return next((group for group in groups if re.search(group.pattern, path)), Group(""))


def check_groups(params: Any, groups: Sequence[Group]) -> None:
  """Raises SettingError for a group whose pattern matches no parameter."""
  paths = [path_name(path) for path, _ in jax.tree.leaves_with_path(params)]
  for group in groups:
    if not any(re.search(group.pattern, path) for path in paths):
      raise SettingError(
        "groups",
        f": the pattern {group.pattern!r} matches none of the {len(paths)} parameters; the first is "
        f"{paths[0]!r}.",
      )


def warmup_linear(
  *, learning_rate: float, num_steps: int, warmup_steps: int, warmup_ratio: float = 1e-3
) -> optax.Schedule:
  """`learning_rate * (1 - step / num_steps)` after a linear warm-up that ends at the full rate.

  VFM-UDA's: the warm-up starts at `warmup_ratio`, reaches 1 in its last step, and is not scaled by
  the decay as it is in `warmup_poly`.

  Args:
    learning_rate: The largest learning rate.
    num_steps: The step at which it is 0.
    warmup_steps: Steps of the warm-up.
    warmup_ratio: Factor of the learning rate with which the warm-up starts.
  """
  start = learning_rate * (1 - warmup_steps / num_steps)
  parts = (
    optax.linear_schedule(warmup_ratio * learning_rate, learning_rate, warmup_steps - 1),
    optax.linear_schedule(start, 0.0, num_steps - warmup_steps),
  )
  return optax.join_schedules(parts, [warmup_steps])


def warmup_poly(
  *,
  learning_rate: float,
  num_steps: int,
  warmup_steps: int = 0,
  warmup_ratio: float = 1e-6,
  power: float = 1.0,
  end_value: float = 0.0,
) -> optax.Schedule:
  """Polynomial decay to `end_value`, times a linear warm-up that starts at `warmup_ratio`.

  Unlike `optax.warmup_polynomial_decay_schedule` the decay runs from step 0 and the warm-up scales
  the already decayed value (DAFormer).

  Args:
    learning_rate: The learning rate from which it decays.
    num_steps: The step at which it is `end_value`.
    warmup_steps: Steps of the warm-up; 0: none.
    warmup_ratio: Factor of the learning rate with which the warm-up starts.
    power: Exponent of the decay; 1: a straight line.
    end_value: The learning rate at the end.
  """
  decay = optax.polynomial_schedule(learning_rate, end_value, power, num_steps)
  if not warmup_steps:
    return decay
  warmup = optax.linear_schedule(warmup_ratio, 1.0, warmup_steps)
  return lambda step: decay(step) * warmup(step)


def scaled_from(schedule: optax.Schedule, changes: Sequence[tuple[int, float]]) -> optax.Schedule:
  """The schedule, times a factor from a step on.

  Args:
    schedule: Learning rate as a function of the step.
    changes: Pairs (first step, factor); several factors multiply.

  Raises:
    SettingError: They are no such pairs.
  """
  try:
    pairs = [(int(step), float(factor)) for step, factor in changes]
  except (TypeError, ValueError):
    pairs = [(-1, 0.0)]
  if any(step < 0 or factor < 0 for step, factor in pairs):
    raise SettingError(
      "scale_from", f"= {changes!r} must be pairs (step, factor), e.g. ((12000, 0.5),)."
    )

  def scaled(step):
    rate = schedule(step)
    for first, factor in pairs:
      rate = jnp.where(step >= first, factor, 1.0) * rate
    return rate

  return scaled if pairs else schedule


SCHEDULES = {"warmup_linear": warmup_linear, "warmup_poly": warmup_poly}


def _adamw(decay: optax.GradientTransformation, *, b1: float, b2: float, eps: float, **_: float):
  """AdamW's directions before the learning rate."""
  return optax.chain(optax.scale_by_adam(b1=b1, b2=b2, eps=eps), decay)


def _sgd(decay: optax.GradientTransformation, *, momentum: float, **_: float):
  """SGD's directions before the learning rate; the decay goes into the momentum, as in PyTorch."""
  return optax.chain(decay, optax.trace(decay=momentum))


OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def _scale_by(multiplier) -> optax.GradientTransformation:
  """Multiplies the update of each parameter by `multiplier(path)`, a constant."""
  return optax.stateless(
    lambda updates, _: jax.tree.map_with_path(
      lambda path, u: u * multiplier(path_name(path)), updates
    )
  )


def _decay_by(multiplier) -> optax.GradientTransformation:
  """Adds `multiplier(path) * parameter` to each update."""
  return optax.stateless(
    lambda updates, params: jax.tree.map_with_path(
      lambda path, u, p: u + multiplier(path_name(path)) * p, updates, params
    )
  )


def _repeated(
  directions: optax.GradientTransformation, schedule: optax.Schedule, count: int
) -> optax.GradientTransformation:
  """Takes `count` steps along the directions of one gradient, at one learning rate."""

  def init(params):
    return directions.init(params), jnp.zeros((), jnp.int32)

  def update(updates, state, params=None):
    inner, step = state
    moved = params
    for _ in range(count):
      direction, inner = directions.update(updates, inner, moved)
      moved = jax.tree.map(lambda p, d: p - schedule(step) * d, moved, direction)
    return jax.tree.map(jnp.subtract, moved, params), (inner, optax.safe_increment(step))

  return optax.GradientTransformation(init, update)


def _start_step(path: str, start_steps: Mapping[str, int | None]) -> int | None:
  return next((step for pattern, step in start_steps.items() if re.search(pattern, path)), 0)


def _from_step(directions: optax.GradientTransformation, first: int | None):
  """`directions` from step `first` on; before, and for ever if it is None, nothing is touched."""
  if first is None:
    return optax.set_to_zero()

  def started(step, **_):
    return jnp.asarray(step) >= first

  return optax.conditionally_mask(directions, started)


def _starting(
  directions: optax.GradientTransformation, start_steps: Mapping[str, int | None]
) -> optax.GradientTransformation:
  """Each group of parameters has its own optimizer state, which stays at zero until it starts."""
  starts = {*start_steps.values(), 0}
  if len(starts) == 1:
    return directions
  # Labels of `optax.partition` are sorted, and None cannot be compared with a number.
  label = lambda step: "never" if step is None else f"from {step}"
  return optax.partition(
    {label(step): _from_step(directions, step) for step in starts},
    lambda tree: jax.tree.map_with_path(
      lambda path, _: label(_start_step(path_name(path), start_steps)), tree
    ),
  )


def build(
  schedule: optax.Schedule,
  *,
  name: str = "adamw",
  weight_decay: float = 0.01,
  momentum: float = 0.9,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  groups: Sequence[Group] = (),
  layer_decay: LayerDecay | None = None,
  start_steps: Mapping[str, int | None] = types.MappingProxyType({}),
) -> optax.GradientTransformation:
  """AdamW or SGD with parameter groups.

  Args:
    schedule: Base learning rate as a function of the step.
    name: `adamw` or `sgd`.
    weight_decay: Base weight decay.
    momentum: Momentum of SGD.
    b1: Decay of AdamW's first moment.
    b2: Decay of AdamW's second moment.
    eps: AdamW's epsilon.
    groups: Multipliers by parameter path; the first match counts.
    layer_decay: Further factors of the learning rates in the encoder, by the depth of a block.
    start_steps: By regular expression of parameter paths (the first match counts), the first step
      that touches them: before it there is no update, no decay, no moment, no bias-correction
      counter. None leaves them as they are for the whole run.

  Raises:
    SettingError: `name` is unknown, or a group repeats its update with AdamW.
  """
  method = registry.lookup(OPTIMIZERS, name, ("name",))
  counts = {group.repeats for group in groups} | {1}
  if name != "sgd" and counts != {1}:
    raise SettingError("groups", ": repeats are for the optimizer's name = 'sgd' only.")
  decay = _decay_by(lambda path: weight_decay * group_of(path, groups).weight_decay)
  directions = method(decay, momentum=momentum, b1=b1, b2=b2, eps=eps)
  layer_factor = layer_decay.factor if layer_decay else lambda path: 1.0
  directions = optax.chain(
    _starting(directions, start_steps),
    _scale_by(lambda path: group_of(path, groups).learning_rate * layer_factor(path)),
  )
  rate = lambda step: jnp.asarray(schedule(step), jnp.float32)
  once = optax.chain(directions, optax.scale_by_learning_rate(rate))
  if counts == {1}:
    return once
  return optax.partition(
    {count: once if count == 1 else _repeated(directions, rate, count) for count in counts},
    lambda tree: jax.tree.map_with_path(
      lambda path, _: group_of(path_name(path), groups).repeats, tree
    ),
  )
