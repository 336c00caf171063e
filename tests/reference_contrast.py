"""What the files `sepico/{proto,dist,bank}_loss` record, checked alike for the three losses."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

from jax_uda import losses
from jax_uda.ops import resize

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def small_label(label, grid, num_classes: int, min_ratio: float, average_pool: bool) -> jax.Array:
  """The label [B,H,W] at the features' grid, as the case's estimator and losses resize it."""
  label = jnp.asarray(label)
  if not average_pool:
    return resize.nearest(label[..., None], grid)[..., 0]
  return losses.downscale_label(label, label.shape[2] // grid[1], num_classes, min_ratio)


def assert_matches_sepico(case: Case, loss: Callable[..., jax.Array]) -> None:
  """Compares `loss(embeddings, label, reduction=...)`, alone and beside the regulariser.

  The tolerances are those of tests/golden/sepico/README.md: gradients are divided by their largest
  entry, then 1e-4 relative and 1e-5 absolute.
  """
  embeddings = jnp.asarray(case.feat)
  grid, min_ratio = embeddings.shape[1:3], float(case.min_ratio)
  label = small_label(case.label, grid, int(case.num_classes), min_ratio, case.use_avg_pool)
  np.testing.assert_array_equal(label, case.label_small)
  regularizer = functools.partial(
    losses.mean_similarity_regularizer,
    labels=label,
    prototypes=jnp.asarray(case["mean"]),
    temperature=float(case.contrast_temp),
  )
  alone = lambda x: loss(x, label)
  total = lambda x: alone(x) + float(case.reg_weight) * regularizer(x)
  for name, function in (("noreg", alone), ("total", total)):
    value, grad = jax.jit(jax.value_and_grad(function))(embeddings)
    close(value, case[f"loss_{name}"])
    expected = case[f"grad_{name}"]
    scale = np.abs(expected).max() or 1.0
    np.testing.assert_allclose(np.asarray(grad) / scale, expected / scale, rtol=1e-4, atol=1e-5)
  close(regularizer(embeddings), case.reg)
  close(loss(embeddings, label, reduction="none"), case.per_pixel)
