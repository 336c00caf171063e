"""RCCR's kernels against the reference; tolerances of tests/golden/rccr/README.md."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

from jax_uda import losses
from jax_uda.losses._region_contrast import region_contrast as region_loss
from jax_uda.memory import region_queue
from jax_uda.ops import labels, resize
from jax_uda.ops.ramp import exponential_ramp
from jax_uda.step import optimizer, teacher
from jax_uda.views import blur, classmix, color, cutmix, pseudo_labels

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
close_loss = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
equal = np.testing.assert_array_equal


def close_grad(actual, expected):
  error = np.abs(np.asarray(actual) - expected).max()
  assert error <= 1e-3 * np.abs(expected).max() + 1e-6, error


def region_contrast(case: Case):
  grid, cell = case.target_label.shape[2:], int(case.cell)
  dim, num_selected = case.mix2_embedding.shape[-1], int(case.n_select)
  queue = region_queue.empty_region_queue(int(case.bank_capacity), 2 * num_selected, dim)

  def loss(mixed, target, label, weight, rows):
    return region_loss(
      mixed,
      target,
      label,
      rows.embeddings,
      rows.labels,
      weights=weight,
      queue_valid=rows.valid,
      temperature=float(case.temperature),
      first_rows=int(case.first_chunk),
      epsilon=float(case.eps),
      block=64,
    )

  value_and_grad = jax.jit(jax.value_and_grad(loss))
  for t, box in enumerate(jnp.asarray(case.box)):
    prob = jax.nn.softmax(jnp.asarray(case.target_logits[t]))
    label, confidence = jnp.argmax(prob, -1), jnp.max(prob, -1)
    equal(label, case.target_label[t])
    close(confidence, case.target_conf[t])
    inside = cutmix.box_mask(box, grid, cell)
    small = labels.nearest_label(jnp.asarray(case.src_label[t]), grid)
    mixed_label = cutmix.paste(inside, label, small)
    equal(mixed_label, case.mix2_label[t])
    mixed, target = jnp.asarray(case.mix2_embedding[t]), jnp.asarray(case.target_embedding[t])
    chosen = lambda x, index: x.reshape(-1, *x.shape[3:])[index]
    queue = region_queue.push(
      queue,
      jnp.concatenate([chosen(mixed, case.idx_mix[t]), chosen(target, case.idx_target[t])]),
      jnp.concatenate([chosen(mixed_label, case.idx_mix[t]), chosen(label, case.idx_target[t])]),
    )
    assert queue.length == case.bank_len[t]
    weight = inside * (confidence > float(case.pos_threshold))
    equal(weight, case.pos_mask_map[t])
    rows = region_queue.rows(queue)
    value, grad = value_and_grad(mixed, target, label, weight, rows)
    close_loss(value, case.loss[t])
    close_grad(grad, case.grad_mix2_embedding[t])
    ramp = exponential_ramp(case.iter[t], int(case.num_iterations))
    close(ramp, case.weight[t])
  length = int(queue.length)
  shape = (int(case.bank_capacity), 2 * num_selected)
  close(rows.embeddings.reshape(*shape, dim)[:length], case.bank_feat_final)
  equal(rows.labels.reshape(shape)[:length], case.bank_label_final)


def cutmix_box(case: Case):
  size, cell = (int(case.size),) * 2, int(case.cell) if "cell" in case else 8
  for i, ratio in enumerate(jnp.asarray(case.ratio, jnp.float32)):
    limit = case.offset_exclusive_max[i]
    equal(cutmix.num_offsets(ratio, size, cell), limit)
    offset = jnp.asarray((case.offset_cell_yx[i] + 0.5) / limit, jnp.float32)
    equal(cutmix.cutmix_box(ratio, offset, size, cell), case.box_top_bottom_left_right[i])


def classmix_consistency(case: Case):
  label, stride = jnp.asarray(case.src_label), int(case.src_image_stride)
  size = label.shape[1:]
  logits = resize.bilinear(jnp.asarray(case.target_logits), size, align_corners=True)
  found = pseudo_labels.pseudo_label(logits, size, threshold=float(case.conf_threshold))
  equal(found.label, case.target_label)
  close(found.confidence, case.target_conf)
  close(found.confident_fraction, case.unlabeled_weight)
  priority = np.ones((len(label), classmix.NUM_IDS), np.float32)
  for image, classes in enumerate(case.classes_selected):
    priority[image, classes[classes >= 0]] = 0
  present = classmix.present_classes(label, per_image=True)
  for image, classes in enumerate(case.classes_present):
    equal(np.flatnonzero(present[image]), np.sort(classes[classes >= 0]))
  mask = classmix.mask(label, classmix.choose(present, jnp.asarray(priority)))
  equal(mask, case.mix_mask)
  images = (jnp.asarray(case.src_image), jnp.asarray(case.tgt_image))
  close(classmix.mix(mask[:, ::stride, ::stride], *images), case.mixed_image)
  mixed_label = classmix.mix(mask, label, found.label)
  weight = classmix.mix(mask, jnp.ones(label.shape), found.weight)
  equal(mixed_label, case.mixed_label)
  close(weight, case.pixel_weight)

  def loss(logits):
    logits = resize.bilinear(logits, size, align_corners=True)
    return float(case.consistency_weight) * losses.weighted_cross_entropy(
      logits, mixed_label, weight
    )

  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(case.student_logits))
  close_loss(value, case.loss)
  close_grad(grad, case.grad_student_logits)


def schedules(case: Case):
  num_steps = int(case.num_iterations)
  rate = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=num_steps, power=float(case.power)
  )
  close(jax.vmap(rate)(case.iters), case.lr)
  close(10 * jax.vmap(rate)(case.iters), case.lr_head)
  close(exponential_ramp(case.iters, num_steps), case.contrast_weight)
  close(1 - teacher.update_rate(jnp.asarray(case.iters), 0.99), case.ema_alpha)


def supervised_ce(case: Case):
  label = jnp.asarray(case.label)

  def loss(logits):
    logits = resize.bilinear(logits, label.shape[1:], align_corners=True)
    return losses.weighted_cross_entropy(logits, label, denominator="valid")

  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(case.logits))
  close_loss(value, case.loss)
  close_grad(grad, case.grad_logits)


def ema(case: Case):
  params = jnp.asarray(case.teacher0)
  for t, step in enumerate(case.iters):
    step = jnp.asarray(step)
    close(1 - teacher.update_rate(step, float(case.alpha_max)), case.alpha[t])
    params = teacher.update(params, jnp.asarray(case.student[t]), step, float(case.alpha_max))
    close(params, case.teacher[t])


def color_blur(case: Case):
  image, mean = jnp.asarray(case.image), jnp.asarray(case.img_mean_bgr, jnp.float32)
  near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-2)
  names = ("brightness", "contrast", "saturation", "hue")
  factors = np.stack([case[f"{name}_factor"] for name in names], -1)  # [calls, B, 4]
  for call, expected in enumerate(case.jittered):
    order = jnp.broadcast_to(jnp.asarray(case.order[call]), (len(image), 4))
    draws = color.ColorDraws(jnp.asarray(factors[call]), order)
    near(color.jitter((image + mean) / 255, draws) * 255 - mean, expected)
  for sigma, expected in zip(case.blur_sigma, case.blurred, strict=True):
    near(blur.gaussian_blur(image, jnp.full(len(image), sigma, jnp.float32)), expected)
  sizes = [blur.kernel_size(int(n)) for n in case.kernel_table_dim]
  equal(sizes, case.kernel_table_size)
  equal([blur.kernel_size(n) for n in image.shape[1:3]], case.kernel_size_yx)


CHECKS = {
  "rccr/region_contrast": region_contrast,
  "rccr/cutmix_box": cutmix_box,
  "rccr/classmix_consistency": classmix_consistency,
  "rccr/schedules": schedules,
  "rccr/supervised_ce": supervised_ce,
  "rccr/ema": ema,
  "rccr/color_blur": color_blur,
}
