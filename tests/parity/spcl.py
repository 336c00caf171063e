"""SPCL's kernels against the reference; tolerances of tests/golden/spcl/README.md."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from golden_cases import Case, assert_close

from jax_uda import losses, memory
from jax_uda.data.pipeline import class_balance
from jax_uda.losses import _adversarial
from jax_uda.losses import _cross_entropy as cross_entropy
from jax_uda.memory import prototypes
from jax_uda.models.translation import output_discriminator
from jax_uda.ops import arrays, resize
from jax_uda.ops import labels as masks
from jax_uda.run import label_thresholds
from jax_uda.step import optimizer

close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
close_state = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
equal = np.testing.assert_array_equal


def source_mask(label, logits, case: Case):
  """The label at the logits' grid, where their argmax agrees with it."""
  small = masks.nearest_label(label, logits.shape[-3:-1])
  return masks.correct_label(small, logits, int(case.ignore_index))


def contrast(features, label, mu, case: Case):
  return losses.prototype_cross_entropy(
    features, label, mu, temperature=float(case.tau), normalize=True
  )


def cl_loss(case: Case):
  mu = jnp.asarray(case.prototypes)
  total = jnp.float32(0)
  for domain in ("src", "tgt"):
    features, label = (jnp.asarray(case[f"{domain}_{x}"]) for x in ("feat", "mask"))
    value_and_grad = jax.jit(jax.value_and_grad(lambda x, y=label: contrast(x, y, mu, case)))
    value, grad = value_and_grad(features)
    close(value, case[f"loss_{domain}"])
    assert_close(grad, case[f"grad_{domain}_feat"], 1e-4)
    assert not np.asarray(grad)[case[f"{domain}_zero_norm"]].any()
    total += value
  close(total, case.loss)


def proto_init(case: Case):
  num_classes = int(case.num_classes)
  features = arrays.l2_normalize(jnp.asarray(case.src_feat))
  mask = source_mask(jnp.asarray(case.src_label), jnp.asarray(case.src_logits), case)
  equal(mask, case.src_mask)
  images = jax.vmap(lambda x, y: memory.class_means(x, y, num_classes))(features, mask)
  equal(images.counts, case.image_class_count)
  close_state(images.means, np.nan_to_num(case.image_class_mean))
  add = jax.jit(prototypes.add_images)
  state = prototypes.empty_prototype_sums(num_classes, features.shape[-1])
  for x, y in zip(features, mask, strict=True):
    state = add(state, x[None], y[None])
  close_state(prototypes.prototypes_of(state), case.prototypes)
  equal(state.images > 0, case.class_seen)


def proto_update_seq(case: Case):
  @functools.partial(jax.jit, static_argnames="keep_absent")
  def step(mu, features, label, logits, keep_absent):
    mask = source_mask(label, logits, case)
    batch = memory.class_means(arrays.l2_normalize(features), mask, len(mu))
    alpha = float(case.alpha)
    return prototypes.update(mu, *batch, decay=alpha, keep_absent=keep_absent), mask, batch

  for keep_absent, expected in (
    (False, case.prototypes),
    (True, case.prototypes_keep_absent),
  ):
    mu = jnp.asarray(case.prototypes0)
    for t, arguments in enumerate(zip(case.src_feat, case.src_label, case.src_logits, strict=True)):
      mu, mask, batch = step(mu, *arguments, keep_absent=keep_absent)
      equal(mask, case.src_mask[t])
      close_state(batch.means, case.batch_mean[t])
      equal(batch.counts > 0, case.class_present[t])
      close_state(mu, expected[t])


def groups(case: Case):
  def group_loss(src_feat, tgt_feat, mu, label, logits, tgt_mask):
    mask = source_mask(label, logits, case)
    batch = memory.class_means(arrays.l2_normalize(src_feat), mask, len(mu))
    mu = prototypes.update(mu, *batch, decay=float(case.alpha), keep_absent=False)
    loss = contrast(src_feat, mask, mu, case) + contrast(tgt_feat, tgt_mask, mu, case)
    return loss, mu

  constants = [
    jnp.asarray(case[name]) for name in ("prototypes0", "src_label", "src_logits", "tgt_mask")
  ]

  def loss(src_feat, tgt_feat):
    values, mu = jax.vmap(group_loss)(src_feat, tgt_feat, *constants)
    return jnp.mean(values), (values, mu)

  value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (value, (values, mu)), grads = value_and_grad(case.src_feat, case.tgt_feat)
  close(value, case.loss)
  close(values, case.loss_per_group)
  close_state(mu, case.prototypes)
  assert_close(grads[0], case.grad_src_feat, 1e-4)
  assert_close(grads[1], case.grad_tgt_feat, 1e-4)


def upsampled(logits, size):
  return resize.bilinear(logits, tuple(int(n) for n in size), align_corners=True)


def seg_cross_entropy(logits, label, temperature):
  return cross_entropy.weighted_cross_entropy(
    upsampled(logits, label.shape[1:]) / temperature, label, denominator="valid"
  )


def seg_loss(case: Case):
  label, temperature = jnp.asarray(case.label), float(case.temperature)
  value_and_grad = jax.jit(jax.value_and_grad(lambda x: seg_cross_entropy(x, label, temperature)))
  value, grad = value_and_grad(jnp.asarray(case.logits))
  close(value, case.loss)
  assert_close(grad, case.grad_logits, 1e-4)
  close_state(upsampled(jnp.asarray(case.logits), label.shape[1:]), case.upsampled)


def discriminator_params(case: Case, prefix: str):
  names = {"weight": "kernel", "bias": "bias"}
  params = {}
  for key, value in case.group(prefix).items():
    layer, kind = key.split(".")
    params.setdefault(layer, {})[names[kind]] = jnp.asarray(value)
  return params


def adv_warmup(case: Case):
  params = discriminator_params(case, "D/")
  module = output_discriminator.OutputDiscriminator(width=params["conv1"]["bias"].size)
  apply = lambda params, x: module.apply({"params": params}, jax.nn.softmax(x))
  src, tgt = jnp.asarray(case.src_logits), jnp.asarray(case.tgt_logits)
  label, temperature = jnp.asarray(case.src_label), float(case.temperature)
  # The source map that D sees is tempered, the target map is not.
  maps = upsampled(src, label.shape[1:]) / temperature, upsampled(tgt, case.tgt_size)

  def generator(tgt, params):
    d_out = apply(params, upsampled(tgt, case.tgt_size))
    loss = _adversarial.adversarial_generator_loss(d_out)
    return float(case.lambda_adv) * loss, (loss, d_out)

  def discriminator(params):
    d_src, d_tgt = (apply(params, x) for x in maps)
    source_term = _adversarial.adversarial_generator_loss(d_src) / 2
    return _adversarial.adversarial_discriminator_loss(d_src, d_tgt), (source_term, d_src)

  @jax.jit
  def step(params, state):
    segmentation = jax.value_and_grad(seg_cross_entropy)(src, label, temperature)
    (_, adversarial), grad_tgt = jax.value_and_grad(generator, has_aux=True)(tgt, params)
    (loss, aux), grad = jax.value_and_grad(discriminator, has_aux=True)(params)
    updates, state = tx.update(grad, state, params)
    outputs = segmentation, adversarial, grad_tgt, loss, aux, grad
    return optax.apply_updates(params, updates), state, outputs

  b1, b2 = case.adam_betas.tolist()
  rate = float(case.lr_d)
  tx = optimizer.build(lambda _: rate, name="adamw", weight_decay=0.0, b1=b1, b2=b2)
  state = tx.init(params)
  for t in range(int(case.n_steps)):
    params, state, outputs = step(params, state)
    (seg, grad_src), (adv, d_tgt), grad_tgt, loss, (source_term, d_src), grad = outputs
    close([seg, adv, source_term, loss - source_term], case.losses[t])
    if t == 0:
      close_state(d_tgt, case.d_out_tgt)
      close_state(d_src, case.d_out_src)
      assert_close(grad_src, case.grad_src_logits, 1e-3)
      assert_close(grad_tgt, case.grad_tgt_logits, 1e-3)
      jax.tree.map(
        lambda a, b: assert_close(a, b, 1e-3), grad, discriminator_params(case, "gradD/")
      )
  after = discriminator_params(case, "D_after/")
  jax.tree.map(lambda a, b: assert_close(a, b, 0, atol=2e-5), params, after)


def confidence_and_label(logits, size):
  prob = jax.nn.softmax(upsampled(jnp.asarray(logits), size))
  return np.asarray(jnp.max(prob, -1)), np.asarray(jnp.argmax(prob, -1))


def pseudo_label(case: Case):
  num_classes, cap = case.logits.shape[-1], float(case.cap)
  measured = confidence_and_label(case.logits, case.threshold_size)
  count = np.bincount(measured[1].ravel(), minlength=num_classes)
  assert np.abs(count - case.class_count).sum() <= 2e-3 * measured[1].size
  median = label_thresholds.median_thresholds(*measured, num_classes, cap=1.0)
  close_state(median, case.median_uncapped)
  thresholds = label_thresholds.median_thresholds(*measured, num_classes, cap=cap)
  close_state(thresholds, case.thresholds)
  labels = label_thresholds.threshold_label(
    *confidence_and_label(case.logits, case.label_size), thresholds
  )
  assert labels.dtype == case.pseudo_label.dtype and labels.shape == case.pseudo_label.shape
  assert np.mean(labels != case.pseudo_label) <= 1e-3


def median_index(case: Case):
  for count, index in zip(case.counts, case.index, strict=True):
    assert count == 0 or label_thresholds.median_index(int(count)) == index
  thresholds = label_thresholds.median_thresholds(
    case.prob, case.label, int(case.num_classes), cap=float(case.cap)
  )
  equal(thresholds, case.thresholds)


def label_nearest(case: Case):
  for i in range(int(case.n)):
    expected = case[f"down_{i}"]
    equal(masks.nearest_label(jnp.asarray(case[f"label_{i}"]), expected.shape[1:]), expected)


def lr_poly(case: Case):
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=int(case.max_iters), power=float(case.power)
  )
  assert_close(jax.vmap(schedule)(jnp.asarray(case.iters)), case.lr, 1e-6)


def balance(case: Case):
  close(class_balance.draw_probabilities(case.class_image_count), case.prob, rtol=1e-9)


CHECKS = {
  "spcl/cl_loss": cl_loss,
  "spcl/proto_init": proto_init,
  "spcl/proto_update_seq": proto_update_seq,
  "spcl/groups": groups,
  "spcl/seg_loss": seg_loss,
  "spcl/adv_warmup": adv_warmup,
  "spcl/pseudo_label": pseudo_label,
  "spcl/median_index": median_index,
  "spcl/label_nearest": label_nearest,
  "spcl/lr_poly": lr_poly,
  "spcl/class_balance": balance,
}
