"""What the laws need to know of a kernel: toy inputs, and which of them plays which part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

KEYS = jax.random.split(jax.random.key(7), 4)
X = jax.random.normal(KEYS[0], (16, 5))
Y = jnp.array([0, 1, 2, 0, 1, 2, 255, 0, 1, 0, 2, 2, 1, 0, 0, 255])
W = jax.random.uniform(KEYS[1], (16,), minval=0.2)
P = jax.random.normal(KEYS[2], (3, 5))
IGNORED = jnp.full(16, 255)
BAD_LABELLED = (
  ({"labels": Y[:8]}, r"labels has shape \(8,\), but embeddings ask for \(16,\)"),
  ({"labels": Y.astype(jnp.float32)}, "labels has dtype float32"),
  ({"weights": W[:8]}, r"weights has shape \(8,\)"),
  ({"embeddings": Y}, "embeddings has dtype int32"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
  """A loss with toy inputs.

  Args:
    of: The exported function that it stands for.
    loss: Called as `loss(**inputs)`; returns a float32 scalar.
    inputs: Arrays by argument name. All shapes are tiny; axis 0 of `pixels` is a multiple of 8.
    trains: Inputs that receive the gradient.
    variant: What distinguishes it from the other kernels of the same function.
    constants: Inputs whose gradient must be exactly 0.
    pixels: Inputs that share the pixel axis 0 (in any order, split over devices, behind one
      more leading axis). Empty if the kernel has no such axis.
    empty: Inputs that replace some so that nothing is valid; None if that cannot happen.
    ignored: Inputs that replace some so that row 0 of axis 0 is an ignored pixel: then changing row
      0 of `trains` changes nothing. None if there is no way to ignore a pixel.
    mean_of: From the losses that `loss(**inputs, reduction="none")` returns, and the inputs, to the
      mean. None if the kernel has no reduction.
    noise: Inputs that are normalised inside: row 0 made of rounding noise is like zeros there.
    bad: (replacements, regular expression of the ValueError's message).
  """

  of: str
  loss: Callable[..., jax.Array]
  inputs: Mapping[str, Any]
  trains: tuple[str, ...]
  variant: str = ""
  constants: tuple[str, ...] = ()
  pixels: tuple[str, ...] = ()
  empty: Mapping[str, Any] | None = None
  ignored: Mapping[str, Any] | None = None
  mean_of: Callable[[jax.Array, Mapping[str, Any]], jax.Array] | None = None
  noise: tuple[str, ...] = ()
  bad: tuple[tuple[Mapping[str, Any], str], ...] = ()

  @property
  def name(self) -> str:
    """The id of its tests."""
    return "_".join(filter(None, (self.of, self.variant)))


def mean_over_labelled(values: jax.Array, inputs: Mapping[str, Any]) -> jax.Array:
  """The mean of losses over pixels with a label in 0..2, by their weights."""
  weights = jnp.where(inputs["labels"] < 3, inputs["weights"], 0.0)
  return jnp.sum(weights * values) / jnp.where(jnp.sum(weights) > 0, jnp.sum(weights), 1.0)


def mean_over_weights(values: jax.Array, inputs: Mapping[str, Any]) -> jax.Array:
  """The mean of losses by their weights alone."""
  total = jnp.sum(inputs["weights"])
  return jnp.sum(inputs["weights"] * values) / jnp.where(total > 0, total, 1.0)


def plain_mean(values: jax.Array, inputs: Mapping[str, Any]) -> jax.Array:
  """The mean of losses that all count alike."""
  del inputs
  return jnp.mean(values)


def labelled(of: str, loss: Callable[..., jax.Array], **more: Any) -> Kernel:
  """A kernel of embeddings, labels and weights; `more` replaces what follows from that."""
  tables = more.pop("tables", {})
  common = dict(
    inputs={"embeddings": X, "labels": Y, "weights": W, **tables},
    trains=("embeddings",),
    constants=("weights", *tables),
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    mean_of=mean_over_labelled,
    bad=(*BAD_LABELLED, *more.pop("bad", ())),
  )
  return Kernel(of=of, loss=loss, **{**common, **more})
