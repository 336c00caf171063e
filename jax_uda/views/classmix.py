"""ClassMix: paste some classes of a source image onto a target image.

DACS (Tranheden et al., 2021, section 3.2). Labels are handled as integers below `NUM_IDS`, so 255
(ignore) is a class like the others, as in the reference code.
"""

import jax
import jax.numpy as jnp

NUM_IDS = 256


def draw(key: jax.Array, batch_size: int) -> jax.Array:
  """Random priorities [B, 256] float32 in [0, 1), one per image and class id."""
  return jax.random.uniform(key, (batch_size, NUM_IDS))


def present_classes(label: jax.Array, *, per_image: bool = False) -> jax.Array:
  """Which ids occur in label [B,H,W]: bool [256] over the batch, or [B, 256] if `per_image`."""
  # A scatter by all pixels would gather the whole batch on every device. Here each image is one set of
  # bits, in words of 32, and only the sets are exchanged.
  ids = label.astype(jnp.uint32).reshape(label.shape[0], 1, -1)
  words = jnp.arange(NUM_IDS // 32, dtype=jnp.uint32)[:, None]
  bits = jnp.where(ids // 32 == words, jnp.uint32(1) << ids % 32, 0)
  sets = jax.lax.reduce(bits, jnp.uint32(0), jax.lax.bitwise_or, [2])
  present = (sets[..., None] >> jnp.arange(32, dtype=jnp.uint32)) % 2 == 1
  present = present.reshape(label.shape[0], NUM_IDS)
  return present if per_image else jnp.any(present, axis=0)


def choose(present: jax.Array, priority: jax.Array) -> jax.Array:
  """Half of the present classes, rounded up, for each image.

  Args:
    present: bool [256], or [B, 256].
    priority: [B, 256] float32 in [0, 1); the present classes with the smallest are chosen.

  Returns:
    bool [B, 256].
  """
  present = jnp.broadcast_to(present, priority.shape)
  rank = jnp.argsort(jnp.argsort(jnp.where(present, priority, 2.0), -1), -1)
  count = (jnp.sum(present, -1, keepdims=True) + 1) // 2
  return present & (rank < count)


def mask(label: jax.Array, chosen: jax.Array) -> jax.Array:
  """bool [B,H,W]: where label [B,H,W] is one of the image's chosen classes [B, 256]."""
  return jax.vmap(lambda ids, table: table[ids])(label, chosen)


def mix(mask: jax.Array, source: jax.Array, target: jax.Array) -> jax.Array:
  """`source` where mask [B,H,W] is True, else `target`; both [B,H,W] or [B,H,W,D]."""
  return jnp.where(mask if source.ndim == mask.ndim else mask[..., None], source, target)
