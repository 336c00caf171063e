"""Pixels against one representation a class: a prototype, a distribution, or a bank of prototypes.

Every loss here is the negative log-probability of a pixel's own class under a softmax over classes.
With an embedding f, its class y, and temperature t:

  prototype     z_c = f . mu_c / t                                      loss = lse_c(z_c) - z_y
  distribution  z_c = f . mu_c / t + (f * f) . var_c / (2 t^2)          loss = lse_c(z_c) - f . mu_y / t
  bank          z_c = mean_l f . b_cl / t;  loss = mean_l softplus(lse_{c != y}(z_c) - f . b_yl / t)

so that a distribution of variance 0, and a bank of one entry, are the prototype. The distribution is
the limit of infinitely many Gaussian samples a class. SePiCo (Xie et al., TPAMI 2023) names them
ProtoCL, DistCL and BankCL; SPCL (Xie et al., 2021) and CONFETI (Li et al., CVPRW 2023) use the first.

The class representations are constants: gradients reach the embeddings only.
"""

import math

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


def prototype_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  normalize: bool = False,
  seen: jax.Array | None = None,
) -> jax.Array:
  """Weighted mean of `lse_c(f . mu_c / t) - f . mu_y / t`.

  Args:
    embeddings: [..., A], any float dtype; used as given unless `normalize`.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: [C, A], constant; used as given.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1); constant.
    normalize: L2-normalise the embeddings first (a zero vector stays zero, its gradient is 0).
    seen: [C] bool or None: leaves the other classes out of the softmax, and their pixels out of
      the mean. The references keep never-seen classes as zero vectors (None).

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the temperature is not above 0.

  Source: SePiCo ProtoCL, SPCL, CONFETI; golden `sepico/proto_loss`, `spcl/cl_loss`,
  `confeti/pixel_proto`.

  >>> import jax.numpy as jnp
  >>> prototypes = jnp.eye(2)
  >>> loss = prototype_cross_entropy(prototypes, jnp.array([0, 1]), prototypes, temperature=1.0)
  >>> print(f"{loss:.4f}")
  0.3133
  """
  prototypes = _constant("prototypes", prototypes, embeddings, temperature)
  pixels = arrays.pixels(embeddings, labels, weights, len(prototypes))
  x = arrays.l2_normalize(pixels.embeddings) if normalize else pixels.embeddings
  logits = arrays.matmul(x, prototypes.T) / temperature
  return _class_nll(logits, _pick(logits, pixels.labels), pixels, seen)


def distribution_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  mean: jax.Array,
  variance: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  variance_scale: float = 1.0,
  seen: jax.Array | None = None,
) -> jax.Array:
  """Weighted mean of `lse_c(f . mu_c / t + s (f * f) . var_c / (2 t^2)) - f . mu_y / t`.

  Args:
    embeddings: [..., A], any float dtype; used as given.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    mean: [C, A], constant.
    variance: [C, A], the diagonal of each class's covariance, constant.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1); constant.
    variance_scale: s.
    seen: See `prototype_cross_entropy`.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the temperature is not above 0.

  Source: SePiCo DistCL; golden `sepico/dist_loss`.

  >>> import jax.numpy as jnp
  >>> x, y, mean = jnp.eye(2), jnp.array([0, 1]), jnp.eye(2)
  >>> loss = distribution_cross_entropy(x, y, mean, jnp.zeros((2, 2)), temperature=0.1)
  >>> bool(loss == prototype_cross_entropy(x, y, mean, temperature=0.1))
  True
  """
  mean = _constant("mean", mean, embeddings, temperature)
  variance = _constant("variance", variance, embeddings, temperature)
  arrays.check_shape("variance", variance, mean.shape, of="means")
  pixels = arrays.pixels(embeddings, labels, weights, len(mean))
  x = pixels.embeddings
  similarity = arrays.matmul(x, mean.T) / temperature
  spread = arrays.matmul(x * x, variance.T) * (variance_scale / (2 * temperature**2))
  return _class_nll(similarity + spread, _pick(similarity, pixels.labels), pixels, seen)


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
    embeddings: [..., A], any float dtype.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: [C, A], constant; C >= 2.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1); constant.
    normalize: L2-normalise the embeddings before their mean; the mean itself is used as it is.
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
  """The checked table [C, A] as a float32 constant."""
  arrays.check_positive("temperature", temperature)
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_rows(name, table, embeddings.shape[-1])
  return jax.lax.stop_gradient(table.astype(jnp.float32))


def _pick(logits: jax.Array, labels: jax.Array) -> jax.Array:
  return jnp.take_along_axis(logits, labels[:, None], -1)[:, 0]


def _class_nll(
  logits: jax.Array, own: jax.Array, pixels: arrays.Pixels, seen: jax.Array | None
) -> jax.Array:
  """Weighted mean of lse_c(logits [N, C]) - own [N]."""
  weights = pixels.weights
  if seen is not None:
    arrays.check_shape("seen", seen, logits.shape[1:], of="prototypes")
    weights = weights * seen[pixels.labels]
    # A finite floor: with no class seen at all, the weights are 0 and nothing may be infinite.
    logits = jnp.where(seen, logits, -1e30)
  return arrays.weighted_mean(jax.nn.logsumexp(logits, -1) - own, weights)


def centroid_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
) -> jax.Array:
  """Mean over the batch's classes of `-log softmax_c(centroid_y . mu_c / t)[y]`.

  A centroid is the normalised mean of the class's normalised embeddings, so every class present
  counts alike, however many pixels it has: `prototype_cross_entropy` counts pixels instead. Use it
  with momentum prototypes (`memory.prototypes`).

  Args:
    embeddings: [..., A], any float dtype; L2-normalised inside (a zero vector stays zero).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: [C, A], constant; used as given.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1): of a pixel in its centroid; constant.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the temperature is not above 0.

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
  sums = arrays.matmul(members.T, arrays.l2_normalize(x))  # normalising removes the division
  present = jnp.sum(members, 0) > 0
  return prototype_cross_entropy(
    sums,
    jnp.where(present, jnp.arange(num_classes), 255),
    prototypes,
    temperature=temperature,
    normalize=True,
  )
