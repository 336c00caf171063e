"""HRDA with CLUDA's fusion, feature weighter and contrast agrees with the reference."""

from typing import Any

import flax.linen as nn
import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import losses
from jax_uda.models import weights
from jax_uda.models.decoders.daformer import DAFormerHead
from jax_uda.models.hrda import network as hrda
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import boxes, resize

TRAIN = {"train": True, "use_running_average": False}
ORDERS = ("aligned", "interleaved")


class Replay(nn.Module):
  """An encoder that returns what the file holds: the levels of the context, then of the crop."""

  levels: Any

  def __call__(self, image, *, train, use_running_average):
    return next(self.levels)


def image_of(case):
  """An image of the file's size; the network does not look at its content."""
  return jnp.zeros((*case.labels.shape, 3))


def crop_size(case):
  y1, y2, x1, x2 = case.crop_boxes[0].tolist()
  return y2 - y1, x2 - x1


def network(case, levels):
  decoder = DAFormerHead(
    num_classes=int(case.num_classes),
    embed_dim=int(case.embed_dims),
    channels=int(case.channels),
    dilations=tuple(case.dilations.tolist()),
    dropout=0.0,
  )
  width = int(case.attention_embed_dim)
  return hrda.wrap(
    Segmentor(Replay(iter(levels)), decoder),
    crop_size=crop_size(case),
    fusion="resize_first",
    feature_weighter=True,
    attention_options={"embed_dim": width, "channels": width, "dropout": 0.0},
  )


def run(case, variables, levels):
  """The outputs of one training pass on the file's levels, and the new statistics."""
  return network(case, levels).apply(
    variables, image_of(case), crop_box=case.crop_boxes, mutable=["batch_stats"], **TRAIN
  )


def terms(case, outputs):
  """Both cross-entropies, weighted, and the grid that is contrasted."""
  label, hr_weight = jnp.asarray(case.labels), float(case.hr_loss_weight)
  weight = jnp.asarray(case.seg_weight) if case.has_seg_weight else jnp.ones(label.shape)
  crop = lambda x: boxes.crop(x, outputs.heads["hr_box"], crop_size(case))

  def cross_entropy(logits, label, weight):
    return losses.weighted_cross_entropy(resize.bilinear(logits, label.shape[1:]), label, weight)

  fused = (1 - hr_weight) * cross_entropy(outputs.logits, label, weight)
  hr = hr_weight * cross_entropy(outputs.heads["hr_logits"], crop(label), crop(weight))
  grid = losses.fused_grid(
    outputs.fused,
    outputs.heads["hr_fused"],
    outputs.heads["feature_weight"],
    label,
    outputs.heads["hr_box"],
    weights=weight if case.has_seg_weight else None,
    grid=tuple(case.fm_size.tolist()),
  )
  return fused, hr, grid


@pytest.mark.parametrize("case", golden("cluda/hrda_head"))
def test_matches_reference(case):
  levels = tuple(golden_models.numbered(case, f"{scale}_level") for scale in ("lr", "hr"))
  tensors = golden_models.torch_layout(case.group("param/"))
  tensors = {f"decode_head.{name}": value for name, value in tensors.items()}
  init = lambda key: network(case, levels).init(
    key, image_of(case), crop_box=case.crop_boxes, **TRAIN
  )
  shapes = jax.eval_shape(init, jax.random.key(0))
  variables = weights.from_torch(tensors, shapes)

  @jax.jit
  def everything(levels):
    def forward(levels):
      outputs, state = run(case, variables, levels)
      fused, hr, grid = terms(case, outputs)
      contrast = [losses.multires_pixel_contrast(grid, pixel_order=order) for order in ORDERS]
      return (fused + hr, *contrast), (fused, hr, outputs, grid, state)

    values, pullback, extra = jax.vjp(forward, levels, has_aux=True)
    gradients = [pullback(tuple(row))[0] for row in jnp.eye(len(values))]
    context, _ = network(case, levels).apply(
      variables, levels[0], method=lambda model, x: model.decoder.decode(x, **TRAIN)
    )
    return values, gradients, context, extra

  (_, *contrast), gradients, context, (fused, hr, outputs, grid, state) = everything(levels)
  close_loss = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  close_map = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  close_loss(fused, case.loss_fused)
  close_loss(hr, case.loss_hr)
  for value, order in zip(contrast, ORDERS, strict=True):
    close_loss(value, case[f"loss_cl_{order}"])
    close_loss(fused + hr + value, case[f"loss_total_{order}"])
  for gradient, name in zip(gradients, ("seg", "cl_aligned", "cl_interleaved"), strict=True):
    for scale, of_levels in zip(("lr", "hr"), gradient, strict=True):
      for i, level in enumerate(of_levels):
        assert_close(level, case[f"grad_{name}_{scale}{i}"], 1e-4, 1e-8)
  close_map(outputs.logits, case.fused_logits)
  close_map(context, case.lr_logits)
  close_map(outputs.heads["hr_logits"], case.hr_logits)
  weight = jax.nn.sigmoid(outputs.heads["feature_weight"])
  close_map(resize.bilinear(weight, case.weight_map.shape[1:3])[..., 0], case.weight_map)
  close_map(grid.embeddings, case.lr_grid)
  close_map(grid.hr_embeddings, case.hr_grid)
  close_map(grid.attention, case.weight_grid)
  np.testing.assert_array_equal(grid.labels, case.labels_grid)
  np.testing.assert_array_equal(grid.hr_mask, case.mask_grid)
  statistics = weights.to_torch(state)
  for name, expected in case.group("after/").items():
    close_map(statistics[f"decode_head.{name}"], expected)
