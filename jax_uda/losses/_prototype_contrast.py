"""Contrast of pixels with one representation per class: a prototype or a distribution.

Every loss here is the negative log-probability of a pixel's class under a softmax over classes. With
an embedding f, its class y, and temperature t:

  prototype     z_c = f . mu_c / t                                 loss = lse_c(z_c) - z_y
  distribution  z_c = f . mu_c / t + (f * f) . var_c / (2 t^2)     loss = lse_c(z_c) - f . mu_y / t

so a distribution of variance 0 is the prototype. The distribution is the limit of infinitely many
Gaussian samples per class. A bank, `bank_cross_entropy`, is the same with few samples. SePiCo (Xie et
al., TPAMI 2023) names them ProtoCL, DistCL and BankCL; SPCL (Xie et al., 2021) and CONFETI (Li et al.,
CVPRW 2023) use the first.

The representations are constants: gradients reach the embeddings only.
"""

import math

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays
from jax_uda.ops.arrays import Reduction


def prototype_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  normalize: bool = False,
  class_mask: jax.Array | None = None,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over pixels of `lse_c(f . mu_c / t) - f . mu_y / t`.

  Args:
    embeddings: f, [..., A], any float dtype; used as they are unless `normalize`.
    labels: y, [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: mu, [C, A], constant; used as they are.
    temperature: t.
    weights: [...] float32 or None (all 1); constant.
    normalize: Whether to L2-normalise the embeddings first (a zero vector stays zero, and its
      gradient is 0).
    class_mask: [C] bool or None (all): the other classes are left out of the softmax, and their
      pixels out of the mean. The references keep classes never seen, as zero vectors (None).
    reduction: "mean", or "none" for the losses of the single pixels.

  Returns:
    float32, a scalar or [...]. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or the reduction is
      unknown.

  Source: SePiCo ProtoCL, SPCL, CONFETI; golden `sepico/proto_loss`, `spcl/cl_loss`,
  `confeti/pixel_proto`.

  >>> import jax.numpy as jnp
  >>> x, y, prototypes = jnp.eye(2), jnp.array([0, 255]), jnp.eye(2)
  >>> print(f"{prototype_cross_entropy(x, y, prototypes, temperature=1.0):.4f}")
  0.3133
  >>> losses = prototype_cross_entropy(x, y, prototypes, temperature=1.0, reduction="none")
  >>> print([f"{loss:.4f}" for loss in losses])
  ['0.3133', '0.0000']
  """
  arrays.check_reduction(reduction)
  prototypes = _constant("prototypes", prototypes, embeddings, temperature)
  pixels = arrays.pixels(embeddings, labels, weights, len(prototypes))
  x = arrays.l2_normalize(pixels.embeddings) if normalize else pixels.embeddings
  logits = arrays.matmul(x, prototypes.T) / temperature
  nll, weight = _class_nll(logits, arrays.pick(logits, pixels.labels), pixels, class_mask)
  return arrays.reduce(nll, weight, reduction, labels.shape)


def soft_prototype_cross_entropy(
  embeddings: jax.Array,
  soft_labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  normalize: bool = False,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over cells of `-sum_c y_c log softmax_c(f . mu / t)`, with shares y of the classes.

  A cell without labels has shares 0 and loss 0, and counts in the mean (CONFETII).

  Args:
    embeddings: f, [..., A], any float dtype; used as they are unless `normalize`.
    soft_labels: y, [..., C] float32 shares, e.g. of `soft_label`; constant. They need not add up to 1.
    prototypes: mu, [C, A], constant; used as they are.
    temperature: t.
    weights: [...] float32 or None (all 1); constant.
    normalize: Whether to L2-normalise the embeddings first (a zero vector stays zero, and its
      gradient is 0).
    reduction: "mean", or "none" for the losses of the single cells.

  Returns:
    float32, a scalar or [...]. No cell of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or the reduction is
      unknown.

  Source: CONFETII; golden `confetii/soft_contrast`.

  >>> import jax.numpy as jnp
  >>> x, prototypes = jnp.eye(2), jnp.eye(2)
  >>> shares = jnp.array([[1.0, 0.0], [0.0, 0.0]])
  >>> print(f"{soft_prototype_cross_entropy(x, shares, prototypes, temperature=1.0):.4f}")
  0.1566
  """
  arrays.check_reduction(reduction)
  prototypes = _constant("prototypes", prototypes, embeddings, temperature)
  arrays.check_float("soft_labels", soft_labels)
  arrays.check_shape(
    "soft_labels", soft_labels, (*embeddings.shape[:-1], len(prototypes)), of="embeddings"
  )
  weights = arrays.constant_weights(weights, embeddings.shape[:-1], of="embeddings")
  x = arrays.l2_normalize(embeddings) if normalize else embeddings
  log_prob = jax.nn.log_softmax(arrays.matmul(x, prototypes.T) / temperature)
  shares = jax.lax.stop_gradient(soft_labels.astype(jnp.float32))
  return arrays.reduce(-jnp.sum(shares * log_prob, -1), weights, reduction)


def distribution_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  mean: jax.Array,
  variance: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  variance_scale: float = 1.0,
  class_mask: jax.Array | None = None,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over pixels of `lse_c(f . mu_c / t + s (f * f) . var_c / (2 t^2)) - f . mu_y / t`.

  Args:
    embeddings: f, [..., A], any float dtype; used as they are.
    labels: y, [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    mean: mu, [C, A], constant.
    variance: var, [C, A], the diagonal of each class's covariance, constant.
    temperature: t.
    weights: [...] float32 or None (all 1); constant.
    variance_scale: s.
    class_mask: [C] bool or None (all): the other classes are left out of the softmax, and their
      pixels out of the mean.
    reduction: "mean", or "none" for the losses of the single pixels.

  Returns:
    float32, a scalar or [...]. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or the reduction is
      unknown.

  Source: SePiCo DistCL; golden `sepico/dist_loss`.

  >>> import jax.numpy as jnp
  >>> x, y, mean = jnp.eye(2), jnp.array([0, 1]), jnp.eye(2)
  >>> loss = distribution_cross_entropy(x, y, mean, jnp.zeros((2, 2)), temperature=0.1)
  >>> bool(loss == prototype_cross_entropy(x, y, mean, temperature=0.1))
  True
  """
  arrays.check_reduction(reduction)
  mean = _constant("mean", mean, embeddings, temperature)
  variance = _constant("variance", variance, embeddings, temperature)
  arrays.check_shape("variance", variance, mean.shape, of="means")
  pixels = arrays.pixels(embeddings, labels, weights, len(mean))
  x = pixels.embeddings
  similarity = arrays.matmul(x, mean.T) / temperature
  spread = arrays.matmul(x * x, variance.T) * (variance_scale / (2 * temperature**2))
  positive = arrays.pick(similarity, pixels.labels)
  nll, weight = _class_nll(similarity + spread, positive, pixels, class_mask)
  return arrays.reduce(nll, weight, reduction, labels.shape)


def centroid_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Mean over the batch's classes y of `lse_c(centroid_y . mu_c / t) - centroid_y . mu_y / t`.

  A centroid is the normalised mean of the class's normalised embeddings, so all classes in the batch
  weigh alike, however many pixels they have: `prototype_cross_entropy` counts pixels instead. Use it
  with momentum prototypes (`memory.prototypes`).

  Args:
    embeddings: [..., A], any float dtype; L2-normalised inside (a zero vector stays zero).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: mu, [C, A], constant; used as they are.
    temperature: t.
    weights: [...] float32 or None (all 1): the share of each pixel in its centroid; constant.
    reduction: "mean", or "none" for the losses of the single classes.

  Returns:
    float32, a scalar or [C], 0 for a class that is not in the batch. No valid pixel: value and
    gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or the reduction is
      unknown.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.eye(2)[jnp.array([0, 0, 0, 1])], jnp.array([0, 0, 0, 1])
  >>> print(f"{centroid_cross_entropy(x, y, jnp.eye(2), temperature=1.0):.4f}")
  0.3133
  """
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_rows("prototypes", prototypes, embeddings.shape[-1])
  num_classes = len(prototypes)
  x, y, w = arrays.pixels(embeddings, labels, weights, num_classes)
  members = arrays.one_hot(y, w, num_classes)  # [N, C]
  count = jnp.sum(members, 0)
  # Normalising the sum is normalising the mean. `count` is the sum of the unit vectors' lengths.
  centroids = arrays.l2_normalize(arrays.matmul(members.T, arrays.l2_normalize(x)), size=count)
  return prototype_cross_entropy(
    centroids,
    jnp.where(count > 0, jnp.arange(num_classes), 255),
    prototypes,
    temperature=temperature,
    reduction=reduction,
  )


def mean_similarity_regularizer(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  normalize: bool = False,
  sign: int = 1,
) -> jax.Array:
  """`sign / (C ln C) * sum_c log softmax_c(f_mean . mu / t)`, with the mean embedding of all pixels.

  The sum is largest, -1 after the division, where the mean embedding is equally similar to all
  prototypes. Minimising it (`sign=1`, as the SePiCo and CONFETI codes do) therefore drives the mean
  *away* from that; `sign=-1` is the stated purpose, to keep embeddings from collapsing onto few
  prototypes.

  Args:
    embeddings: f, [..., A], any float dtype.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: mu, [C, A], constant; C >= 2.
    temperature: t.
    weights: [...] float32 or None (all 1); constant.
    normalize: Whether to L2-normalise the embeddings before their mean; the mean itself is used as
      it is.
    sign: 1 or -1.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, `temperature` is not above 0, or `sign` is neither
      1 nor -1.

  Source: SePiCo, CONFETI; golden `sepico/*_loss`, `confeti/pixel_proto`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.array([[1.0, 1.0]]), jnp.array([0])
  >>> round(float(mean_similarity_regularizer(x, y, jnp.eye(2), temperature=1.0)), 6)
  -1.0
  """
  if sign not in (1, -1):
    raise ValueError(f"sign = {sign}; expected 1 or -1")
  prototypes = _constant("prototypes", prototypes, embeddings, temperature)
  num_classes = len(prototypes)
  if num_classes < 2:
    raise ValueError(f"prototypes has shape {prototypes.shape}; expected at least 2 classes")
  pixels = arrays.pixels(embeddings, labels, weights, num_classes)
  x = arrays.l2_normalize(pixels.embeddings) if normalize else pixels.embeddings
  total = jnp.sum(pixels.weights)
  mean = arrays.matmul(pixels.weights[None], x)[0] / jnp.where(total > 0, total, 1.0)
  log_prob = jax.nn.log_softmax(arrays.matmul(prototypes, mean) / temperature)
  value = sign * jnp.sum(log_prob) / (num_classes * math.log(num_classes))
  return jnp.where(total > 0, value, 0.0)


def _constant(name: str, table: jax.Array, embeddings: jax.Array, temperature: float) -> jax.Array:
  """Checks the table [C, A] of a class representation and makes it a float32 constant."""
  arrays.check_positive("temperature", temperature)
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_rows(name, table, embeddings.shape[-1])
  return jax.lax.stop_gradient(table.astype(jnp.float32))


def _class_nll(
  logits: jax.Array, positive: jax.Array, pixels: arrays.Pixels, class_mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """The losses lse_c(logits [N, C]) - positive [N], and their weights [N]."""
  weights = pixels.weights
  if class_mask is not None:
    arrays.check_shape("class_mask", class_mask, logits.shape[1:], of="prototypes")
    weights = weights * class_mask[pixels.labels]
    # A finite floor: with no class seen at all, the weights are 0 and nothing may be infinite.
    logits = jnp.where(class_mask, logits, -1e30)
  return jax.nn.logsumexp(logits, -1) - positive, weights
