"""Which labels a contrastive loss may use: those of a feature map's cells that are classified right."""

import jax
import jax.numpy as jnp

from jax_uda import resize
from jax_uda.losses import arrays


def nearest_label(label: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Picks label pixel floor(i * in / out) for cell i, as PyTorch's `nearest` does.

  Args:
    label: [..., H, W] integers.
    size: (height, width) of the feature map.

  Returns:
    [..., h, w] of the same dtype.

  Raises:
    ValueError: `label` is no [..., H, W] of integers, or `size` is not two numbers above 0.

  Source: golden `spcl/label_nearest`.

  >>> import jax.numpy as jnp
  >>> nearest_label(jnp.arange(5)[None, None], (1, 2)).tolist()
  [[[0, 2]]]
  """
  if label.ndim < 2 or not jnp.issubdtype(label.dtype, jnp.integer):
    raise ValueError(f"label is {label.dtype}{label.shape}; expected integers [..., H, W]")
  return resize.nearest(label[..., None], size)[..., 0]


def correct_label(label: jax.Array, logits: jax.Array, ignore: int = 255) -> jax.Array:
  """The label where the network's own prediction agrees with it, else `ignore`.

  Args:
    label: [...] integers; a pixel outside 0..C-1 stays ignored.
    logits: [..., C] at the label's resolution, constant. The lowest class wins a tie.
    ignore: Value of the pixels left out.

  Returns:
    [...] int32.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: SPCL (Xie et al., 2021); golden `spcl/proto_init`, `spcl/proto_update_seq`.

  >>> import jax.numpy as jnp
  >>> logits = jnp.array([[5.0, 1.0], [5.0, 1.0], [1.0, 5.0]])
  >>> correct_label(jnp.array([0, 1, 255]), logits).tolist()
  [0, 255, 255]
  """
  arrays.check_float("logits", logits, min_ndim=2)
  arrays.check_labels("label", label, logits.shape[:-1], of="logits")
  return jnp.where(jnp.argmax(logits, -1) == label, label.astype(jnp.int32), ignore)
