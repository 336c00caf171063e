"""CONFETI's kernels against the reference; tolerances of tests/golden/confeti/README.md."""

import functools
import math

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

from jax_uda import losses
from jax_uda.losses import _adversarial
from jax_uda.losses import _prototype_contrast as prototype_contrast
from jax_uda.memory import cam_prototypes
from jax_uda.methods import _translator as ranges
from jax_uda.ops import arrays, labels, pixels, resize, sampling

close = functools.partial(golden_cases.assert_close, rtol=1e-4, atol=1e-5)
close_gan = functools.partial(golden_cases.assert_close, rtol=1e-5, atol=1e-6)
close_range = functools.partial(golden_cases.assert_close, rtol=1e-5, atol=1e-5)
close_resize = functools.partial(golden_cases.assert_close, rtol=1e-4, atol=2e-5)


def project(features, kernel):
  """A 1x1 convolution with a kernel (out, in)."""
  return arrays.matmul(features, kernel.T)


def proto_update(case: Case):
  update = jax.jit(
    functools.partial(
      cam_prototypes.update,
      momentum=float(case.momentum),
      ori_size=bool(case.ori_size),
      top_k=int(case.top_k),
    )
  )
  state = cam_prototypes.CamPrototypes(jnp.asarray(case.proto[0]), jnp.asarray(case.count[0]))
  assert state.prototypes.shape == (case.num_classes, case.proto_dim)
  for step in range(len(case.feat)):
    inputs = (jnp.asarray(case[name][step]) for name in ("feat", "cam", "label"))
    state = update(
      state,
      *inputs,
      source_mask=jnp.asarray(case.source_mask[step]),
      warmup=jnp.asarray(case.use_warmup[step]),
    )
    close(state.prototypes, case.proto[step + 1])
    np.testing.assert_array_equal(state.counts, case.count[step + 1])


def pixel_proto(case: Case):
  num_classes, num_samples = int(case.num_classes), int(case.num_samples)
  label = labels.nearest_label(jnp.asarray(case.label), case.feat.shape[1:3])
  np.testing.assert_array_equal(label, case.label_small)
  valid = (label >= 0) & (label < num_classes)
  inputs = jnp.asarray(case.feat), jnp.asarray(case.proj_kernel)
  normed = arrays.l2_normalize(project(*inputs)) * valid[..., None]
  close(normed, case.v_normed)

  drawn = sampling.sample_valid(valid, num_samples, key=jax.random.key(0))
  assert drawn.sum() == len(case.sample_idx) and not (drawn * ~valid).any()
  chosen = jnp.zeros(label.size).at[case.sample_idx].set(1.0).reshape(label.shape)
  if valid.sum() <= num_samples:
    np.testing.assert_array_equal(chosen, drawn)

  common = dict(
    labels=label,
    prototypes=jnp.asarray(case.prototypes),
    temperature=float(case.tau),
    normalize=True,
  )

  def cross(features, kernel):
    loss = prototype_contrast.prototype_cross_entropy(
      project(features, kernel), weights=chosen, **common
    )
    return float(case.loss_weight) * loss

  def reg(features, kernel):
    loss = prototype_contrast.mean_similarity_regularizer(project(features, kernel), **common)
    norm = float(case.reg_norm) / (num_classes * math.log(num_classes))
    return float(case.reg_weight) * loss / norm

  for name, loss in (("cross", cross), ("reg", reg)):
    value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(*inputs)
    close(value, case[f"loss_{name}"])
    for grad, of in zip(grads, ("feat", "proj"), strict=True):
      close(grad, case[f"grad_{of}_{name}"])


def semantic_consistency(case: Case):
  prototypes, kernel = jnp.asarray(case.prototypes), jnp.asarray(case.proj_kernel)
  reference = project(jnp.asarray(case.feat_src), kernel)
  stylised = lambda x, reg_kernel, bias: project(project(x, kernel), reg_kernel) + bias
  inputs = [jnp.asarray(case[name]) for name in ("feat_s2t", "reg_kernel", "reg_bias")]
  close(project(reference, prototypes), case.sim_src)
  close(project(stylised(*inputs), prototypes), case.sim_s2t)

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
  def loss(*inputs):
    value = losses.semantic_consistency(stylised(*inputs), reference, prototypes)
    return float(case.weight) * value

  value, grads = loss(*inputs)
  close(value, case.loss)
  for grad, name in zip(grads, ("feat_s2t", "reg_kernel", "reg_bias"), strict=True):
    close(grad, case[f"grad_{name}"])


def patchnce(case: Case):
  shape = (int(case.batch), int(case.patches), -1)
  queries, keys = (jnp.asarray(x).reshape(shape) for x in (case.feat_q, case.feat_k))
  options = dict(
    temperature=float(case.temperature),
    negatives="batch" if case.all_negatives_from_minibatch else "image",
  )
  rows = jax.jit(functools.partial(losses.patch_nce_rows, **options))(queries, keys)
  close(rows.reshape(-1), case.loss_rows)
  loss = jax.jit(jax.value_and_grad(functools.partial(losses.patch_nce, **options)))
  value, grad = loss(queries, keys)
  close(value, case.loss)
  close(grad.reshape(case.grad_q.shape), case.grad_q)


def lsgan(case: Case):
  fake, real = jnp.asarray(case.pred_fake), jnp.asarray(case.pred_real)
  discriminator = _adversarial.least_squares_discriminator_loss
  close_gan(2 * discriminator(fake, jnp.ones_like(real)), case.loss_D_fake)
  close_gan(2 * discriminator(jnp.zeros_like(fake), real), case.loss_D_real)
  value, grads = jax.jit(jax.value_and_grad(discriminator, (0, 1)))(fake, real)
  close_gan(value, case.loss_D)
  close_gan(grads[0], case.grad_D_pred_fake)
  close_gan(grads[1], case.grad_D_pred_real)
  generator = jax.jit(jax.value_and_grad(_adversarial.least_squares_generator_loss))
  value, grad = generator(fake)
  close_gan(value, case.loss_G_GAN)
  close_gan(grad, case.grad_G_pred_fake)


def cam_head(case: Case):
  inputs = jnp.asarray(case.feat), jnp.asarray(case.cam_kernel)
  label = jnp.asarray(case.label)
  maps = project(*inputs)
  close(jax.nn.relu(maps), case.cam_map)
  close(maps.mean((1, 2)), case.scores)
  np.testing.assert_array_equal(losses.image_classes(label, len(case.cam_kernel)), case.cls_label)
  loss = lambda *x: losses.image_class_cross_entropy(project(*x), label)
  value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(*inputs)
  close(value, case.loss)
  close(grads[0], case.grad_feat)
  close(grads[1], case.grad_kernel)


def style_range(case: Case):
  mean, std = jnp.asarray(case["mean"]) / 255, jnp.asarray(case["std"]) / 255
  close_range(ranges.to_gan(case.img_normed * std + mean), case.gan_input)
  image = ranges.from_gan(jnp.asarray(case.gan_output))
  close_range(pixels.standardise(image, mean, std), case.img_from_gan)


def resize_align_corners(case: Case):
  for i in range(int(case.n_cases)):
    x, expected = jnp.asarray(case[f"x{i}"]), case[f"y{i}"]
    size = expected.shape[1:3]
    close_resize(resize.bilinear(x, size, align_corners=True), expected)
    height, width = x.shape[1:3]
    index = jnp.arange(height * width).reshape(height, width, 1)
    np.testing.assert_array_equal(
      resize.nearest(index, size)[..., 0], case[f"nearest_src_index{i}"]
    )


CHECKS = {
  "confeti/proto_update": proto_update,
  "confeti/pixel_proto": pixel_proto,
  "confeti/semantic_consistency": semantic_consistency,
  "confeti/patchnce": patchnce,
  "confeti/lsgan": lsgan,
  "confeti/cam_head": cam_head,
  "confeti/style_range": style_range,
  "confeti/resize_align_corners": resize_align_corners,
}
