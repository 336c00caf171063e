"""Optimizers with parameter groups, and the learning-rate schedule of the DACS family.

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

from jax_uda import options


class Group(NamedTuple):
  """Parameters whose path (`encoder/stage_0/…/kernel`) matches a regular expression.

  Attributes:
    pattern: Searched for in the path; of several groups the first match counts.
    learning_rate: Multiplies the base learning rate.
    weight_decay: Multiplies the base weight decay.
  """

  pattern: str
  learning_rate: float = 1.0
  weight_decay: float = 1.0


def path_name(path: Sequence[Any]) -> str:
  """A `jax.tree_util` key path as `encoder/stage_0/…/kernel`."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def group_of(path: str, groups: Sequence[Group]) -> Group:
  """The first group that matches `path`; all multipliers are 1 if none does."""
  return next((group for group in groups if re.search(group.pattern, path)), Group(""))


def check_groups(params: Any, groups: Sequence[Group]) -> None:
  """Raises ValueError for a group whose pattern matches no parameter."""
  paths = [path_name(path) for path, _ in jax.tree.leaves_with_path(params)]
  for group in groups:
    if not any(re.search(group.pattern, path) for path in paths):
      raise ValueError(
        f"config.optimizer.groups: the pattern {group.pattern!r} matches none of the "
        f"{len(paths)} parameters; the first is {paths[0]!r}."
      )


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
  """
  decay = optax.polynomial_schedule(learning_rate, end_value, power, num_steps)
  if not warmup_steps:
    return decay
  warmup = optax.linear_schedule(warmup_ratio, 1.0, warmup_steps)
  return lambda step: decay(step) * warmup(step)


def _directions(name: str, momentum: float, b1: float, b2: float, eps: float, decay):
  """The update directions before the learning rate, weight decay included."""
  options.lookup({"adamw": None, "sgd": None}, name, "optimizer.name")
  if name == "adamw":
    return optax.chain(optax.scale_by_adam(b1=b1, b2=b2, eps=eps), decay)
  return optax.chain(decay, optax.trace(decay=momentum))


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


def _start_step(path: str, start_steps: Mapping[str, int]) -> int:
  return next((step for pattern, step in start_steps.items() if re.search(pattern, path)), 0)


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
  start_steps: Mapping[str, int] = types.MappingProxyType({}),
) -> optax.GradientTransformation:
  """AdamW or SGD with parameter groups.

  Args:
    schedule: Base learning rate as a function of the step.
    name: `adamw` or `sgd`.
    weight_decay: Base weight decay.
    momentum: Of SGD.
    b1: Decay of AdamW's first moment.
    b2: Decay of AdamW's second moment.
    eps: AdamW's epsilon.
    groups: Multipliers by parameter path; the first match counts.
    start_steps: By regular expression of parameter paths (the first match counts): before that step
      nothing of them is touched: no update, no decay, no moments, no bias-correction counter.

  Raises:
    ValueError: For an unknown `name`.
  """
  decay = _decay_by(lambda path: weight_decay * group_of(path, groups).weight_decay)
  directions = _directions(name, momentum, b1, b2, eps, decay)
  starts = set(start_steps.values()) | {0}
  if len(starts) > 1:
    # Gated parameters keep its own moments and counter, which stay at zero until they start.
    gated = {
      start: optax.conditionally_mask(directions, lambda step, start=start, **_: step >= start)
      for start in starts
    }
    directions = optax.partition(
      gated,
      lambda tree: jax.tree.map_with_path(
        lambda path, _: _start_step(path_name(path), start_steps), tree
      ),
    )
  return optax.chain(
    directions,
    _scale_by(lambda path: group_of(path, groups).learning_rate),
    optax.scale_by_learning_rate(lambda step: jnp.asarray(schedule(step), jnp.float32)),
  )
