"""What a contract test needs to know of a kernel: toy inputs and which of them plays which part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
  """A loss with toy inputs.

  Args:
    name: Shown in the test's id; `<file>/<function>`.
    loss: Called as `loss(**inputs)`; returns a float32 scalar.
    inputs: Arrays by argument name. All shapes are tiny; axis 0 of `pixels` is a multiple of 8.
    trains: Inputs that receive the gradient.
    constants: Inputs whose gradient must be exactly 0.
    pixels: Inputs that share the pixel axis 0 (in any order, split over devices, behind one
      more leading axis). Empty if the kernel has no such axis.
    empty: Inputs that replace some so that nothing is valid; None if that cannot happen.
    ignored: For axis-0 row 0 to be an ignored pixel, replace these; then changing row 0 of
      `trains` changes nothing. None if there is no way to ignore a pixel.
    bad: (replacements, regular expression of the ValueError's message).
  """

  name: str
  loss: Callable[..., jax.Array]
  inputs: Mapping[str, Any]
  trains: tuple[str, ...]
  constants: tuple[str, ...] = ()
  pixels: tuple[str, ...] = ()
  empty: Mapping[str, Any] | None = None
  ignored: Mapping[str, Any] | None = None
  bad: tuple[tuple[Mapping[str, Any], str], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
  """A state update with toy inputs; called as `update(state, **inputs)`, returns the next state."""

  name: str
  update: Callable[..., Any]
  state: Any
  inputs: Mapping[str, Any]
  pixels: tuple[str, ...] = ()
  empty: Mapping[str, Any] | None = None
  bad: tuple[tuple[Mapping[str, Any], str], ...] = ()
