"""The encoder map that a head reads."""

import jax

from jax_uda.models.protocols import Features


def level_of(features: Features, level: int) -> jax.Array:
  """The map at position `level` of encoder maps, fine to coarse; -1 is the coarsest.

  Raises:
    ValueError: There is no such map.
  """
  if not -len(features) <= level < len(features):
    raise ValueError(
      f"level = {level}, but the encoder has {len(features)} maps: choose 0 to {len(features) - 1}, or "
      "-1 for the coarsest"
    )
  return features[level]
