"""Which classes an image holds, learnt from the spatial mean of its class activation maps."""

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays


def image_class_cross_entropy(maps: jax.Array, labels: jax.Array) -> jax.Array:
  """Mean over images and classes of the sigmoid cross-entropy between mean map and `image_classes`.

  Args:
    maps: [..., h, w, C], any float dtype: class activations before ReLU.
    labels: [..., H, W] integers at any resolution; a pixel outside 0..C-1 (255 = ignore) is left
      out.

  Returns:
    float32 scalar. An image without valid pixels counts as one that holds no class, as in the
    reference.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: CONFETI; golden `confeti/cam_head`.

  >>> import jax.numpy as jnp
  >>> maps, labels = jnp.zeros((1, 2, 2, 3)), jnp.array([[[0, 2]]])
  >>> print(f"{image_class_cross_entropy(maps, labels):.4f}")
  0.6931
  """
  arrays.check_float("maps", maps, min_ndim=3)
  classes = image_classes(labels, maps.shape[-1])
  arrays.check_shape("labels", labels, (*maps.shape[:-3], *labels.shape[-2:]), of="maps")
  scores = jnp.mean(maps.astype(jnp.float32), axis=(-3, -2))
  return jnp.mean(optax.sigmoid_binary_cross_entropy(scores, classes))
