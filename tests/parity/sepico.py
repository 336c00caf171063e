"""SePiCo's kernels against the reference; tolerances of tests/golden/sepico/README.md."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

from jax_uda import losses, memory
from jax_uda.common import mesh
from jax_uda.losses import _bank_contrast as bank_contrast
from jax_uda.losses import _prototype_contrast as prototype_contrast
from jax_uda.memory import class_statistics, ring_bank
from jax_uda.ops import labels, resize
from jax_uda.run import evaluation
from jax_uda.step import optimizer
from jax_uda.step.method import Task
from jax_uda.views import balanced_crop, day_night
from jax_uda.views import pseudo_labels as pseudo_label

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
close5 = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def close_grad(actual, expected):
  """Both divided by the largest expected entry, then 1e-4 relative and 1e-5 absolute."""
  scale = np.abs(expected).max() or 1.0
  np.testing.assert_allclose(np.asarray(actual) / scale, expected / scale, rtol=1e-4, atol=1e-5)


def small_label(label, grid, num_classes, min_ratio, average_pool):
  """The label [B,H,W] at the features' grid, as the case's estimator and losses resize it."""
  label = jnp.asarray(label)
  if not average_pool:
    return resize.nearest(label[..., None], grid)[..., 0]
  factor = label.shape[2] // grid[1]
  return losses.downscale_label(label, factor, num_classes, min_ratio)


def label_downscale(case: Case):
  out = (
    losses.downscale_label(
      jnp.asarray(case.label), int(case.scale_factor), int(case.num_classes), float(case.min_ratio)
    )
    if str(case.mode) == "avgpool"
    else resize.nearest(jnp.asarray(case.label)[..., None], tuple(case.out_hw.tolist()))[..., 0]
  )
  np.testing.assert_array_equal(out, case.out)


def _contrast(case: Case, loss):
  """Checks `loss(feat, label_small, weights)` beside the regulariser."""
  feat = jnp.asarray(case.feat)
  label = small_label(
    case.label, feat.shape[1:3], int(case.num_classes), float(case.min_ratio), case.use_avg_pool
  )
  np.testing.assert_array_equal(label, case.label_small)
  temperature, reg_weight = float(case.contrast_temp), float(case.reg_weight)
  regularizer = lambda x: prototype_contrast.mean_similarity_regularizer(
    x, label, jnp.asarray(case["mean"]), temperature=temperature
  )
  total = lambda x: loss(x, label, None) + reg_weight * regularizer(x)
  value, grad = jax.jit(jax.value_and_grad(lambda x: loss(x, label, None)))(feat)
  close(value, case.loss_noreg)
  close_grad(grad, case.grad_noreg)
  value, grad = jax.jit(jax.value_and_grad(total))(feat)
  close(value, case.loss_total)
  close_grad(grad, case.grad_total)
  close(regularizer(feat), case.reg)
  only = jnp.eye(label.size).reshape(-1, *label.shape)  # one pixel at a time
  per_pixel = jax.jit(lambda: jax.lax.map(lambda w: loss(feat, label, w), only))()
  close(per_pixel.reshape(label.shape), case.per_pixel)


def proto_loss(case: Case):
  _contrast(
    case,
    lambda x, label, w: prototype_contrast.prototype_cross_entropy(
      x, label, jnp.asarray(case["mean"]), temperature=float(case.contrast_temp), weights=w
    ),
  )


def dist_loss(case: Case):
  _contrast(
    case,
    lambda x, label, w: prototype_contrast.distribution_cross_entropy(
      x,
      label,
      jnp.asarray(case["mean"]),
      jnp.asarray(case.covariance),
      temperature=float(case.contrast_temp),
      variance_scale=float(case.dist_ratio),
      weights=w,
    ),
  )


def bank_loss(case: Case):
  bank, length = jnp.asarray(case.bank), jnp.asarray(case.bank_len)
  _contrast(
    case,
    lambda x, label, w: bank_contrast.bank_cross_entropy(
      x, label, bank, length, temperature=float(case.contrast_temp), weights=w, block=8
    ),
  )


def estimator(case: Case):
  num_classes, length = int(case.num_classes), int(case.memory_length)
  stats = class_statistics.ClassStatistics(
    *(jnp.asarray(case[name]) for name in ("mean0", "covariance0", "amount0"))
  )
  bank = length and ring_bank.RingBank(
    jnp.asarray(case.bank0, jnp.float32), jnp.asarray(case.bank_len0)
  )

  @jax.jit
  def step(stats, bank, feat, label):
    label = small_label(label, feat.shape[1:3], num_classes, float(case.min_ratio), average_pool)
    means, counts = memory.class_means(feat, label, num_classes)
    if length:
      bank = ring_bank.push(bank, means, counts > 0)
    return class_statistics.update(stats, feat, label), bank, counts

  average_pool = bool(case.use_avg_pool)
  for t in range(len(case.feat)):
    stats, bank, counts = step(stats, bank, jnp.asarray(case.feat[t]), jnp.asarray(case.label[t]))
    np.testing.assert_array_equal(counts, case.batch_count[t])
    close(stats.mean, case["mean"][t])
    close(stats.variance, case.covariance[t])
    np.testing.assert_array_equal(stats.count, case.amount[t])
    if length:
      close(ring_bank.oldest_first(bank), case.bank[t])
      np.testing.assert_array_equal(bank.length, case.bank_len[t])


def pseudo_labels(case: Case):
  pseudo = pseudo_label.pseudo_label(
    jnp.asarray(case.logits),
    tuple(case.image_hw.tolist()),
    threshold=float(case.pseudo_threshold),
    ignore_top=int(case.ignore_top),
    ignore_bottom=int(case.ignore_bottom),
  )
  np.testing.assert_array_equal(pseudo.label, case.pseudo_label)
  close5(pseudo.confidence, case.prob)
  close5(pseudo.weight, case.pseudo_weight)
  close5(pseudo.confident_fraction, case.confident_fraction)
  contrast_label = labels.ignore_unweighted(pseudo.label, pseudo.weight)
  np.testing.assert_array_equal(contrast_label, case.cl_label)


def day_night_mix(case: Case):
  mix = day_night.fuse_day_night(
    jnp.asarray(case.day_prob),
    jnp.asarray(case.night_prob),
    static_ranges=case.shift_insensitive_ranges.tolist(),
    day_ratio=float(case.day_ratio),
    day_threshold=float(case.day_conf_threshold),
    class_weights=jnp.asarray(case.class_weight, jnp.float32),
  )
  close(mix, case.mix)
  label, confidence = jnp.argmax(mix, -1), jnp.max(mix, -1)
  pseudo = pseudo_label.weigh(label, confidence, threshold=float(case.pseudo_threshold))
  np.testing.assert_array_equal(pseudo.label, case.pseudo_label)
  close(pseudo.confidence, case.prob)
  close(pseudo.confident_fraction, case.confident_fraction)


def dark_class_weight(case: Case):
  close5(day_night.frequency_weights(case.class_frequency, 0.05), case.class_weight_std005)
  weights = day_night.frequency_weights(case.class_frequency, 0.16)
  close5(weights, case.class_weight_std016)
  weighted = jax.nn.softmax(jnp.asarray(case.logits)) * weights
  prob = resize.bilinear(weighted, tuple(case.image_hw.tolist()))
  close5(prob, case.weighted_prob)
  np.testing.assert_array_equal(jnp.argmax(prob, -1), case["pred"])
  model = types.SimpleNamespace(apply=lambda _, x, **__: types.SimpleNamespace(logits=255 * x))
  predict = evaluation.make_predict(
    model,
    Task(19, class_frequency=tuple(case.class_frequency)),
    mesh.data_mesh(1),
    class_weights=tuple(weights.tolist()),
  )
  np.testing.assert_array_equal(
    predict({}, case.logits, tuple(case.image_hw.tolist())), case["pred"]
  )


def cbc_crop(case: Case):
  label, size = jnp.asarray(case.label), tuple(case.crop_size.tolist())
  num_classes = int(case.label[case.label != 255].max()) + 1
  ratio = float(case.cat_max_ratio)
  offsets = jnp.asarray(case.candidates_yx)
  score = jax.jit(
    lambda: balanced_crop.crop_scores(
      label, offsets, size, num_classes=num_classes, max_class_ratio=ratio
    )
  )()
  close5(score, case.score)
  chosen = int(jnp.argmax(score))
  assert chosen == int(case.chosen)
  np.testing.assert_array_equal(offsets[chosen], case.chosen_yx)
  np.testing.assert_array_equal(
    balanced_crop.crop(label, offsets[chosen], size), case.cropped_label
  )


def delayed_adamw(case: Case):
  start = int(np.argmax(case.has_grad)) if case.has_grad.any() else len(case.grad)
  tx = optimizer.build(
    lambda step: jnp.asarray(case.lr, jnp.float32)[step],
    weight_decay=float(case.weight_decay),
    start_steps={"head": start},
    b1=float(case.b1),
    b2=float(case.b2),
    eps=float(case.eps),
  )
  params = {"head": jnp.asarray(case.p0)}
  state = tx.init(params)
  step = jax.jit(lambda grad, state, params: tx.update({"head": grad}, state, params))
  for t, has_grad in enumerate(case.has_grad):
    grad = jnp.asarray(case.grad[t]) * has_grad
    updates, state = step(grad, state, params)
    params = {"head": params["head"] + updates["head"]}
    close(params["head"], case.p[t])


CHECKS = {
  "sepico/label_downscale": label_downscale,
  "sepico/proto_loss": proto_loss,
  "sepico/dist_loss": dist_loss,
  "sepico/bank_loss": bank_loss,
  "sepico/estimator": estimator,
  "sepico/pseudo_label": pseudo_labels,
  "sepico/day_night_mix": day_night_mix,
  "sepico/dark_class_weight": dark_class_weight,
  "sepico/cbc_crop": cbc_crop,
  "sepico/delayed_adamw": delayed_adamw,
}
