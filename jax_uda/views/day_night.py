"""Night pseudo-labels helped by a day image of the same place (SePiCo-Dark, Cityscapes to Dark Zurich).

Golden: `sepico/day_night_mix`, `sepico/dark_class_weight`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def frequency_weights(class_frequency: Sequence[float], strength: float) -> np.ndarray:
  """[C] float64 class weights, above 1 for rare classes; NumPy alone, so that recipes can call it.

  `1 + strength * (mean_j ln p_j - ln p_c) / std_j(ln p_j)` with the unbiased deviation.

  Args:
    class_frequency: [C], each class's share of the pixels, above 0, in any unit.
    strength: The weights' standard deviation; 0.05 in training, 0.16 at test time.
  """
  log = np.log(class_frequency)
  return 1 + strength * (log.mean() - log) / log.std(ddof=1)


def fuse_day_night(
  day: jax.Array,
  night: jax.Array,
  *,
  static_ranges: Sequence[tuple[int, int]] = ((0, 5), (8, 11)),
  day_ratio: float = 0.8,
  day_threshold: float = 0.4,
  class_weights: jax.Array | None = None,
) -> jax.Array:
  """Mixes the teacher's probabilities of a night image with those of its day image.

  Static classes (buildings, vegetation ...) take `day_ratio` of the day's probability where that
  exceeds `day_threshold`, and 1 - `day_ratio` elsewhere; moving classes are read from the night alone.
  The images are treated as aligned.

  Args:
    day: [...,C] float32 probabilities of the day image.
    night: [...,C] float32 probabilities of the night image.
    static_ranges: Half-open ranges of the static classes' ids.
    day_ratio: Share of the day's probability where it exceeds `day_threshold`.
    day_threshold: Least probability of the day; the comparison is strict.
    class_weights: [C] float32 or None: multiplies the mixture.

  Returns:
    [...,C] float32, not normalised again: with class weights it can exceed 1.

  Raises:
    ValueError: The shapes differ.
  """
  if day.shape != night.shape:
    raise ValueError(f"day has shape {day.shape}, night has {night.shape}")
  ids = jnp.arange(day.shape[-1])
  static = jnp.zeros(ids.shape, bool)
  for first, end in static_ranges:
    static |= (ids >= first) & (ids < end)
  share = jnp.where(static, jnp.where(day > day_threshold, day_ratio, 1 - day_ratio), 0.0)
  mixed = share * day + (1 - share) * night
  return mixed if class_weights is None else mixed * class_weights
