"""A random subset of the valid pixels, as weights: the rest of the program keeps its static shapes."""

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


def sample_valid(
  valid: jax.Array,
  count: int,
  *,
  key: jax.Array | None = None,
  uniforms: jax.Array | None = None,
) -> jax.Array:
  """Chooses min(count, number of valid pixels) valid pixels, each as likely as any other.

  Every loss with `weights` takes the result as its weights. To replay a choice that was recorded
  elsewhere, use `jnp.zeros(N).at[index].set(1.0)` in its place.

  Args:
    valid: [...], bool or numbers; a pixel is valid where it is not 0.
    count: The most pixels to choose, without replacement.
    key: The random key that draws the choice; None if `uniforms` are there.
    uniforms: [...] floats in [0, 1) that decide in place of the key: the valid pixels with the
      largest are chosen, and of equal ones the first.

  Returns:
    [...] float32: 1 for a chosen pixel, else 0. Nothing valid: all 0.

  Raises:
    ValueError: A shape or dtype does not fit, `count` is not above 0, or there are both or neither
      of `key` and `uniforms`.

  Source: CONFETI (4096 pixels), SePiCo.

  >>> import jax.numpy as jnp
  >>> valid, uniforms = jnp.array([1, 0, 1, 1]), jnp.array([0.1, 0.9, 0.5, 0.3])
  >>> sample_valid(valid, 2, uniforms=uniforms).tolist()
  [0.0, 0.0, 1.0, 1.0]
  """
  arrays.check_count("count", count)
  if uniforms is None and key is not None:
    uniforms = jax.random.uniform(key, valid.shape)
  elif uniforms is None or key is not None:
    raise ValueError("give sample_valid either key or uniforms, and not both")
  arrays.check_float("uniforms", uniforms)
  arrays.check_shape("uniforms", uniforms, valid.shape, of="valid pixels")
  # Indices rather than a threshold: among thousands of float32 uniforms some are equal.
  score = jnp.where(valid != 0, jax.lax.stop_gradient(uniforms), -1.0).reshape(-1)
  best, index = jax.lax.top_k(score, min(count, score.size))
  chosen = jnp.zeros(score.size, jnp.float32).at[index].set((best >= 0).astype(jnp.float32))
  return chosen.reshape(valid.shape)
