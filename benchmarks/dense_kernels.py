"""The kernels as one would first write them: all pairs at once, in JAX. For comparison only."""

import jax
import jax.numpy as jnp


def class_statistics(mean, variance, count, x, y):
  """SePiCo's update from [N, C, A] arrays."""
  member = jax.nn.one_hot(y, len(mean), dtype=x.dtype)[..., None]  # [N, C, 1]
  n = member.sum(0)  # [C, 1]
  spread = x[:, None] * member  # [N, C, A]
  batch_mean = spread.sum(0) / jnp.maximum(n, 1)
  batch_variance = ((spread - member * batch_mean) ** 2).sum(0) / jnp.maximum(n, 1)
  w = n / jnp.maximum(n + count[:, None], 1)
  variance = (1 - w) * variance + w * batch_variance + w * (1 - w) * (mean - batch_mean) ** 2
  return (1 - w) * mean + w * batch_mean, variance, count + n[:, 0]


def bank_cross_entropy(x, y, bank, temperature):
  """BankCL with all similarities [N, C, L]."""
  s = jnp.einsum("na,cla->ncl", x, bank, precision="highest") / temperature
  of_class = jnp.arange(bank.shape[0]) == y[:, None]
  negatives = jax.nn.logsumexp(jnp.where(of_class, -jnp.inf, s.mean(-1)), -1)
  positives = jnp.take_along_axis(s, y[:, None, None], 1)[:, 0]  # [N, L]
  return jnp.mean(jnp.logaddexp(positives, negatives[:, None]) - positives)


def info_nce(x, y, temperature):
  """Every pixel against every pixel, [N, N]."""
  s = jnp.matmul(x, x.T, precision="highest") / temperature
  same = y[:, None] == y
  positive = same & ~jnp.eye(len(y), dtype=bool)
  rest = jax.nn.logsumexp(jnp.where(same, -jnp.inf, s), 1, keepdims=True)
  nll = jnp.where(positive, jax.nn.softplus(rest - s), 0.0)
  return jnp.mean(nll.sum(1) / jnp.maximum(positive.sum(1), 1))


def multires_pixel_contrast(low, high, weight, y, y_high):
  """CLUDA's loss with the whole [N, N] matrices; source form."""
  unit = lambda v: v * jax.lax.rsqrt(jnp.maximum((v * v).sum(-1, keepdims=True), 1e-24))
  low, high = unit(low), unit(high)
  same = y[:, None] == y
  positive = (same & ~jnp.eye(len(y), dtype=bool)).astype(low.dtype)

  def log_prob(s):
    exp = jnp.exp(s)
    return s - jnp.log(exp + jnp.where(same, 0.0, exp).sum(1, keepdims=True))

  w = weight[:, None] * weight * (y_high != 0)[:, None]
  first = log_prob(jnp.matmul(low, low.T, precision="highest"))
  second = log_prob(jnp.matmul(low, high.T, precision="highest"))
  total = (positive * (w * first + (1 - w) * second)).sum(1) / jnp.maximum(positive.sum(1), 1)
  return -0.5 * jnp.mean(total)


def region_contrast(x, positive, y, valid, bank, bank_label, temperature, eps=1e-8):
  """RCCR's loss with all similarities [N, M]."""
  pos = (x * positive).sum(-1) / temperature
  s = jnp.matmul(x, bank.T, precision="highest") / temperature
  largest = jnp.maximum(pos, s.max(1))
  numerator = jnp.exp(pos - largest)
  negative = jnp.where(bank_label != y[:, None], jnp.exp(s - largest[:, None]), 0.0).sum(1)
  nll = -jnp.log(numerator / (numerator + negative + eps) + eps)
  return jnp.sum(valid * nll) / (jnp.sum(valid) + 1e-12)


def cam_prototypes(prototypes, counts, features, cam, label, momentum=0.999, top_k=32):
  """CONFETI's update with features and weights resized to the label's size."""
  batch, height, width = label.shape
  resize = lambda x: _align_corners(x, (height, width))
  features = resize(features).reshape(-1, features.shape[-1])
  cam, label = resize(cam).reshape(-1, cam.shape[-1]), label.reshape(-1)
  num_classes = len(prototypes)
  is_class = label[:, None] == jnp.arange(num_classes)
  value, index = jax.lax.top_k(jnp.where(is_class, cam, -1.0).T, top_k)  # [C, k]
  weight = jnp.where(value >= 0, value, 0.0)
  mean = jnp.einsum("ck,cka->ca", weight, features[index])
  mean = mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
  share = jnp.where(counts == 0, 1.0, jnp.minimum(1 - 1 / (counts + 1), 1 - momentum))[:, None]
  share = jnp.where(weight.sum(1, keepdims=True) > 0, share, 0.0)
  new = (1 - share) * prototypes + share * mean
  new = new / jnp.maximum(jnp.linalg.norm(new, axis=-1, keepdims=True), 1e-12)
  return new, counts + (value >= 0).sum(1)


def _align_corners(x, size):
  """Bilinear resize of x [B, h, w, D] whose corners stay corners."""
  scale = jnp.array([(out - 1) / (n - 1) for out, n in zip(size, x.shape[1:3], strict=True)])
  shape = (x.shape[0], *size, x.shape[-1])
  return jax.image.scale_and_translate(
    x, shape, (1, 2), scale, 0.5 - 0.5 * scale, "linear", antialias=False
  )
