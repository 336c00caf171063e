"""CLUDA's kernels against the reference; tolerances of tests/golden/cluda/README.md."""

import functools

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

from jax_uda.losses import _pixel_contrast, _pixel_contrast_grid
from jax_uda.views import entropy_crop as entropy

close_loss = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
close_map = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
close_grad = functools.partial(golden_cases.assert_close, rtol=1e-4, atol=1e-8)


def check_grads(case: Case, loss, inputs, names, order: str):
  """`loss(*inputs)` and its gradient against `loss_<order>` and `grad_<name>_<order>`."""
  argnums = tuple(range(len(inputs)))
  value, grads = jax.jit(jax.value_and_grad(loss, argnums))(*inputs)
  close_loss(value, case[f"loss_{order}"])
  for name, grad in zip(names, grads, strict=True):
    close_grad(grad, case[f"grad_{name}_{order}"])


def pseudo_weight(case: Case, name: str = "pseudo_weight"):
  return jnp.asarray(case[name]) if case.has_pseudo_weight else None


def single_cl(case: Case):
  for order in ("aligned", "interleaved"):
    loss = lambda x, order=order: _pixel_contrast.pixel_contrast(
      x, jnp.asarray(case.labels), weights=pseudo_weight(case), pixel_order=order, block=40
    )
    check_grads(case, loss, [jnp.asarray(case.feats)], ["feats"], order)


def multires_cl(case: Case):
  inputs = [jnp.asarray(case[name]) for name in ("lr_feats", "hr_feats", "weight")]
  for order in ("aligned", "interleaved"):
    parts = functools.partial(
      _pixel_contrast.multires_pixel_contrast,
      labels=jnp.asarray(case.labels),
      hr_mask=jnp.asarray(case.hr_labels) != 0,
      weights=pseudo_weight(case),
      pixel_order=order,
      block=40,
      return_parts=True,
    )
    check_grads(case, lambda *x, f=parts: f(*x).loss, inputs, ["lr", "hr", "weight"], order)
    _, low, high = jax.jit(parts)(*inputs)
    close_loss(0.5 * low.mean(), case[f"loss_lr_lr_{order}"])
    close_loss(0.5 * high.mean(), case[f"loss_lr_hr_{order}"])
    close_map((low + high).reshape(-1), case[f"anchor_loss_{order}"])


def cl_grid(case: Case):
  names = ("lr_fused", "hr_fused_crop", "weight_logits")
  inputs = [jnp.asarray(case[name]) for name in names]

  def sample(*maps):
    return _pixel_contrast_grid.fused_grid(
      *maps,
      jnp.asarray(case.labels),
      jnp.asarray(case.crop_boxes),
      weights=pseudo_weight(case),
      grid=tuple(case.fm_size.tolist()),
      lr_scale=float(case.lr_scale),
    )

  grid = jax.jit(sample)(*inputs)
  close_map(grid.embeddings, case.lr_grid)
  close_map(grid.hr_embeddings, case.hr_grid)
  close_map(grid.attention, case.weight_grid)
  np.testing.assert_array_equal(grid.labels, case.labels_grid)
  np.testing.assert_array_equal(grid.hr_mask, case.mask_grid)
  np.testing.assert_array_equal(grid.hr_mask * grid.labels, case.hr_labels_grid)
  if case.has_pseudo_weight:
    close_map(grid.weights, case.pseudo_weight_grid)
  for order in ("aligned", "interleaved"):

    def loss(*maps, order=order):
      *arrays, weights = sample(*maps)
      return _pixel_contrast.multires_pixel_contrast(*arrays, weights=weights, pixel_order=order)

    check_grads(case, loss, inputs, names, order)


def entropy_crop(case: Case):
  logits, image_size = jnp.asarray(case.logits), tuple(case.image_size.tolist())
  options = dict(crop_size=tuple(case.crop_size.tolist()), stride=tuple(case.stride.tolist()))
  values = jax.jit(entropy.entropy_map)(logits)
  close_map(values, case.entropy)
  close_map(entropy.window_means(values, image_size, **options), case.window_means)
  boxes = jax.jit(lambda x: entropy.entropy_boxes(x, image_size, **options))(logits)
  np.testing.assert_array_equal(boxes, case.crop_boxes)


CHECKS = {
  "cluda/single_cl": single_cl,
  "cluda/multires_cl": multires_cl,
  "cluda/cl_grid": cl_grid,
  "cluda/entropy_crop": entropy_crop,
}
