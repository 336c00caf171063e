"""Losses of two networks at odds: a discriminator D and the network whose output it judges.

In output-space adversarial training (AdaptSegNet, Tsai et al., CVPR 2018), D sees the softmax map of a
segmentation and gives a map of logits of "this is the target domain": 0 is the source, 1 the target.
D learns to tell them apart; the segmentation network learns to make its target maps look like source
maps. The caller decides what is constant, as in

  probability = jax.nn.softmax(logits)
  generator = adversarial_generator_loss(D(constant_weights, probability_of_target))
  discriminator = adversarial_discriminator_loss(*(D(weights, stop_gradient(p)) for p in maps))

SPCL's warm-up weighs the first by 0.001. In image translation (CONFETI), D judges generated images by
least squares.
"""

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays

SOURCE, TARGET = 0.0, 1.0


def adversarial_generator_loss(target_map: jax.Array) -> jax.Array:
  """Mean of `-log(1 - sigmoid(d))`, small where the discriminator takes the target for the source.

  Args:
    target_map: d, the discriminator's logits for target images, of any shape and float dtype.

  Returns:
    float32 scalar, unweighted.

  Raises:
    ValueError: The map does not hold floats.

  Source: golden `spcl/adv_warmup`.

  >>> import jax.numpy as jnp
  >>> print(f"{adversarial_generator_loss(jnp.zeros((1, 2, 3, 1))):.4f}")
  0.6931
  """
  return _cross_entropy("target_map", target_map, SOURCE)


def adversarial_discriminator_loss(source_map: jax.Array, target_map: jax.Array) -> jax.Array:
  """Mean of `-log(1 - sigmoid(d))` over the source and of `-log sigmoid(d)` over the target, halved.

  Each domain counts one half, whatever the sizes of the maps.

  Args:
    source_map: d, the discriminator's logits for source images, of any shape and float dtype.
    target_map: d, its logits for target images, of any shape and float dtype.

  Returns:
    float32 scalar.

  Raises:
    ValueError: A map does not hold floats.

  Source: golden `spcl/adv_warmup`.

  >>> import jax.numpy as jnp
  >>> sure = jnp.full((1, 2, 3, 1), 20.0)
  >>> print(f"{adversarial_discriminator_loss(-sure, sure):.4f}")
  0.0000
  """
  source = _cross_entropy("source_map", source_map, SOURCE)
  return (source + _cross_entropy("target_map", target_map, TARGET)) / 2


def _cross_entropy(name: str, logits: jax.Array, domain: float) -> jax.Array:
  arrays.check_float(name, logits)
  labels = jnp.full(logits.shape, domain)
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), labels))


def least_squares_generator_loss(fake_map: jax.Array) -> jax.Array:
  """Mean of `(D(fake) - 1)^2`.

  Args:
    fake_map: D's output for generated images, of any shape and float dtype.

  Returns:
    float32 scalar.

  Raises:
    ValueError: The map does not hold floats.

  Source: golden `confeti/lsgan`.

  >>> import jax.numpy as jnp
  >>> float(least_squares_generator_loss(jnp.array([[3.0, 1.0]])))
  2.0
  """
  return _mean_square("fake_map", fake_map, 1.0)


def least_squares_discriminator_loss(fake_map: jax.Array, real_map: jax.Array) -> jax.Array:
  """`1/2 (mean D(fake)^2 + mean (D(real) - 1)^2)`; both halves count alike, whatever the sizes.

  Args:
    fake_map: D's output for generated images, of any shape and float dtype.
    real_map: D's output for real images, of any shape and float dtype.

  Returns:
    float32 scalar.

  Raises:
    ValueError: A map does not hold floats.

  Source: golden `confeti/lsgan`.

  >>> import jax.numpy as jnp
  >>> float(least_squares_discriminator_loss(jnp.array([2.0]), jnp.array([1.0, 3.0])))
  3.0
  """
  return (_mean_square("fake_map", fake_map, 0.0) + _mean_square("real_map", real_map, 1.0)) / 2


def _mean_square(name: str, values: jax.Array, target: float) -> jax.Array:
  arrays.check_float(name, values)
  return jnp.mean((values.astype(jnp.float32) - target) ** 2)
