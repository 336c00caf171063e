"""What translators that train beside a student share: ranges of images, parts of a batch, optimizer steps."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jax_uda.common.registry import SettingError
from jax_uda.ops.resize import size_of
from jax_uda.step.context import named_key
from jax_uda.step.method import Batch
from jax_uda.views import balanced_crop

State = dict[str, Any]  # "params" and "optimizers", each by name


def source_of(batch: Batch) -> jax.Array:
  """The source images.

  Raises:
    SettingError: 4 does not divide their sides.
  """
  height, width = size_of(batch["source"]["image"])
  if height % 4 or width % 4:
    raise SettingError(
      "data.crop_size", f"= ({height}, {width}): the translator needs multiples of 4."
    )
  return batch["source"]["image"]


def draw_corners(key: jax.Array, batch: Batch) -> jax.Array:
  """Draws [B, 2] int32 top left corners of crops of the target, of the size of the source images."""
  source = batch["source"]["image"]
  return balanced_crop.candidate_offsets(
    named_key(key, "corners"), size_of(batch["target"]["image"]), size_of(source), len(source)
  )


def target_of(batch: Batch, corners: jax.Array) -> jax.Array:
  """The target images, cropped at `corners` to the size of the source images."""
  crop = functools.partial(balanced_crop.crop, size=size_of(batch["source"]["image"]))
  return jax.vmap(crop)(batch["target"]["image"], corners)


def apply(module: nn.Module, params: Any, *args: Any, method: str | None = None) -> Any:
  """A pass of a network that has parameters alone."""
  return module.apply({"params": params}, *args, method=method)


def part(tree: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
  """The entries `names` of a dictionary."""
  return {name: tree[name] for name in names}


def step(state: State, name: str, tx: optax.GradientTransformation, grads: Any) -> State:
  """`state` after a step of the optimizer `name` with the gradients of some networks, by name."""
  params = part(state["params"], tuple(grads))
  updates, optimizer_state = tx.update(grads, state["optimizers"][name], params)
  moved: Any = optax.apply_updates(params, updates)
  return {
    "params": state["params"] | moved,
    "optimizers": {**state["optimizers"], name: optimizer_state},
  }


def to_gan(image: jax.Array) -> jax.Array:
  """`2 x - 1`: RGB in [0, 1] becomes what a generator takes, in [-1, 1]; nothing is clipped.

  Args:
    image: [..., 3], any float dtype.

  Returns:
    [..., 3] float32.

  Raises:
    ValueError: The image does not hold floats.
  """
  return 2 * _floats(image) - 1


def from_gan(image: jax.Array) -> jax.Array:
  """`(y + 1) / 2`, the inverse of `to_gan`, with the same argument and error."""
  return (_floats(image) + 1) / 2


def _floats(image: jax.Array) -> jax.Array:
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"image has dtype {image.dtype}; expected floats, not pixel values")
  return image.astype(jnp.float32)
