import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from reference_grids import ORDERS, assert_gradients_match, close_map, pseudo_weight

from jax_uda import losses
from jax_uda.ops import resize

KEYS = jax.random.split(jax.random.key(5), 5)
LOW = jax.random.normal(KEYS[0], (8, 3, 5, 2))  # the full maps are 6 x 10, the images 24 x 40
HIGH = jax.random.normal(KEYS[1], (8, 4, 6, 2))
LOGITS = jax.random.normal(KEYS[2], (8, 3, 5, 1))
LABELS = jax.random.randint(KEYS[3], (8, 24, 40), 0, 5)
WEIGHTS = jax.random.uniform(KEYS[4], (8, 24, 40))
TOP_LEFT = [[0, 16, 0, 24], [8, 24, 16, 40], [8, 24, 0, 24], [0, 16, 8, 32]]
BOXES = jnp.array(TOP_LEFT * 2, jnp.int32)
GRID = (5, 7)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
sample = functools.partial(losses.fused_grid, grid=GRID)


def step_by_step(low, high, logits):
  """The full-size maps, built and sampled as the reference does."""
  on_grid = lambda x: resize.bilinear(x, GRID, align_corners=True)
  full = jnp.zeros((8, 6, 10, 2))
  mask = np.zeros((8, 3, 5, 1))
  for b, (y1, y2, x1, x2) in enumerate(TOP_LEFT * 2):
    full = full.at[b, y1 // 4 : y2 // 4, x1 // 4 : x2 // 4].set(high[b])
    mask[b, y1 // 8 : y2 // 8, x1 // 8 : x2 // 8] = 1
  attention = resize.bilinear(jax.nn.sigmoid(logits), (6, 10))
  return losses.FusedGrid(
    on_grid(resize.bilinear(low, (6, 10), align_corners=True)),
    on_grid(full),
    on_grid(attention)[..., 0],
    resize.nearest(LABELS[..., None], GRID)[..., 0],
    resize.nearest(mask, GRID)[..., 0],
    on_grid(WEIGHTS[..., None])[..., 0],
  )


def test_it_is_the_full_maps_built_and_sampled_step_by_step():
  run = jax.jit(lambda boxes: sample(LOW, HIGH, LOGITS, LABELS, boxes, weights=WEIGHTS))
  jax.tree.map(close, run(BOXES), step_by_step(LOW, HIGH, LOGITS))


def test_gradients_reach_both_resolutions_and_the_attention_on_one_device_and_on_eight():
  cotangents = step_by_step(LOW[::-1], HIGH[::-1], LOGITS[::-1])[:3]
  total = lambda grid: sum(jnp.vdot(a, b) for a, b in zip(grid[:3], cotangents, strict=True))
  loss = lambda *maps: total(sample(*maps[:3], LABELS, maps[3]))
  run = jax.jit(jax.grad(loss, (0, 1, 2)))
  expected = jax.grad(lambda *maps: total(step_by_step(*maps)), (0, 1, 2))(LOW, HIGH, LOGITS)
  inputs = (LOW, HIGH, LOGITS, BOXES)
  jax.tree.map(close, run(*inputs), expected)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  split = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("data")))
  jax.tree.map(close, run(*split), expected)


def test_without_weights_there_are_none():
  assert sample(LOW, HIGH, LOGITS, LABELS, BOXES).weights is None


def test_the_full_size_maps_are_never_built():
  spec = jax.ShapeDtypeStruct
  maps = [spec((2, 32, 32, channels), jnp.float32) for channels in (64, 64, 1)]
  rest = spec((2, 256, 256), jnp.int32), spec((2, 4), jnp.int32)
  run = jax.jit(functools.partial(losses.fused_grid, grid=(9, 9)))
  temporaries = run.lower(*maps, *rest).compile().memory_analysis().temp_size_in_bytes
  assert temporaries < 4 * 2 * 64 * 64 * 64  # one map of them


@pytest.mark.parametrize("lr_scale", [0, -0.5])
def test_the_scale_must_be_positive(lr_scale):
  with pytest.raises(ValueError, match="lr_scale"):
    sample(LOW, HIGH, LOGITS, LABELS, BOXES, lr_scale=lr_scale)


@pytest.mark.parametrize("case", golden("cluda/cl_grid"))
def test_matches_reference(case: Case):
  names = ("lr_fused", "hr_fused_crop", "weight_logits")
  inputs = [jnp.asarray(case[name]) for name in names]

  def sample(*maps):
    return losses.fused_grid(
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
  for order in ORDERS:
    loss = lambda *maps, order=order: losses.multires_pixel_contrast(
      sample(*maps), pixel_order=order
    )
    assert_gradients_match(case, loss, inputs, names, order)
