import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden
from reference_grids import ORDERS, assert_gradients_match, close_loss, close_map, pseudo_weight

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(3), 6)
SHAPE = (2, 3, 5)
LOW = jax.random.normal(KEYS[0], (*SHAPE, 4))
HIGH = jax.random.normal(KEYS[1], (*SHAPE, 4))
A = jax.random.uniform(KEYS[2], SHAPE)
Y = jax.random.randint(KEYS[3], SHAPE, 0, 4).at[0, 0, :2].set(255).at[1, 2, 4].set(9)
INSIDE = jax.random.bernoulli(KEYS[4], 0.6, SHAPE)
Q = jax.random.uniform(KEYS[5], SHAPE).at[1, 0, 0].set(0.0)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def multires(low, high, a, **options):
  return losses.multires_pixel_contrast(losses.FusedGrid(low, high, a, Y, INSIDE, Q), **options)


def anchor_by_anchor(low, high, a, ignore=False, things=(), outside_weight=0.0, from_label=True):
  """The multi-resolution formula, its masks written as loops; high = None: the single one."""
  unit = lambda x: (x / jnp.linalg.norm(x, axis=-1, keepdims=True)).reshape(-1, 4)
  y, q, inside = (np.asarray(x).reshape(-1) for x in (Y, Q, INSIDE))
  s = unit(low) @ unit(low).T
  h = s if high is None else unit(low) @ unit(high).T
  a = a.reshape(-1)
  used = np.array([not (ignore and c == 255) for c in y])
  anchors = [i for i in range(len(y)) if used[i] and y[i] not in things]
  total = 0.0
  for i in anchors:
    positives = np.array([j for j in range(len(y)) if j != i and used[j] and y[j] == y[i]], int)
    negatives = np.array([k for k in range(len(y)) if used[k] and y[k] != y[i]])
    low_term, high_term = (
      t[i, positives] - jnp.log(jnp.exp(t[i, positives]) + jnp.exp(t[i, negatives]).sum())
      for t in (s, h)
    )
    is_inside = inside[i] and not (from_label and y[i] == 0)
    w = a[i] * a[positives] if is_inside else outside_weight
    pairs = q[i] * q[positives] * (w * low_term + (1 - w) * high_term)
    total -= pairs.sum() / max(len(positives), 1)
  return total / len(anchors) * (1.0 if high is None else 0.5)


@pytest.mark.parametrize(
  ("options", "reference"),
  [
    ({}, {}),
    ({"ignore_is_class": False}, {"ignore": True}),
    ({"exclude_things": (2, 255)}, {"things": (2, 255)}),
    ({"outside_crop_weight": 0.75}, {"outside_weight": 0.75}),
    ({"hr_mask_from_label": False}, {"from_label": False}),
  ],
)
def test_value_and_gradient_are_those_of_the_formula_written_anchor_by_anchor(options, reference):
  loss = lambda *x: multires(*x, block=8, **options)
  expected = jax.jit(jax.value_and_grad(lambda *x: anchor_by_anchor(*x, **reference), (0, 1, 2)))(
    LOW, HIGH, A
  )
  jax.tree.map(close, jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(LOW, HIGH, A), expected)


@pytest.mark.parametrize(
  ("options", "reference"),
  [({"ignore_is_class": False}, {"ignore": True}), ({"exclude_things": (1,)}, {"things": (1,)})],
)
def test_one_resolution_is_its_formula_written_anchor_by_anchor(options, reference):
  loss = lambda x: losses.pixel_contrast(x, Y, weights=Q, **options)
  expected = jax.jit(jax.value_and_grad(lambda x: anchor_by_anchor(x, None, A, **reference)))(LOW)
  jax.tree.map(close, jax.jit(jax.value_and_grad(loss))(LOW), expected)


def test_blocks_do_not_matter():
  def loss(maps, block):
    parts = multires(*maps, block=block, return_parts=True)
    return parts.loss, parts

  run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
  whole = run((LOW, HIGH, A), 1024)
  for block in (1, 7, 16):
    jax.tree.map(close, run((LOW, HIGH, A), block), whole)


def test_two_equal_resolutions_are_half_of_one_whatever_the_attention():
  for inside in (INSIDE, jnp.ones_like(INSIDE)):
    both = losses.multires_pixel_contrast(losses.FusedGrid(LOW, LOW, A, Y, inside, Q))
    close(2 * both, losses.pixel_contrast(LOW, Y, weights=Q))


def test_descent_moves_the_attention_to_the_smaller_term():
  y = jnp.clip(Y, 1, 4)
  separated = jax.nn.one_hot(y, 7)
  maps = losses.FusedGrid(separated, -separated, A, y, jnp.ones_like(INSIDE))
  grad = jax.grad(lambda a: losses.multires_pixel_contrast(maps._replace(attention=a)))(A)
  assert (grad < 0).all()  # the low resolution tells the classes apart, the high one confuses them


def test_interleaved_reads_embeddings_pixel_by_pixel_and_labels_image_by_image():
  shuffled = [jnp.moveaxis(x.reshape(2, 15, -1), 0, 1).reshape(*SHAPE, -1) for x in (LOW, HIGH)]
  published = multires(LOW, HIGH, A, pixel_order="interleaved")
  close(published, multires(*shuffled, A))
  assert not np.isclose(published, multires(LOW, HIGH, A))


def test_without_negatives_the_loss_is_exactly_zero():
  run = jax.value_and_grad(lambda x: losses.pixel_contrast(x, jnp.full(SHAPE, 3)))
  value, grad = run(LOW)
  assert value == 0 and not grad.any()


def test_weights_of_zero_leave_a_pixel_a_negative():
  weights = jnp.ones(SHAPE).at[0, 1].set(0.0)
  loss = lambda x: losses.pixel_contrast(x, Y, weights=weights)
  assert jax.grad(loss)(LOW)[0, 1].any()


def test_it_can_be_scaled_and_differentiated_twice():
  loss = lambda x: losses.pixel_contrast(x, Y, weights=Q, block=8)
  close(jax.grad(lambda x: -3 * loss(x))(LOW), -3 * jax.grad(loss)(LOW))
  steepness = lambda f: jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2)))(LOW)
  close(steepness(loss), steepness(lambda x: anchor_by_anchor(x, None, A)))


def test_memory_grows_with_the_block_and_not_with_all_pairs():
  spec = jax.ShapeDtypeStruct
  maps = (spec((2, 32, 32, 16), jnp.float32),) * 2
  rest = spec((2, 32, 32), jnp.float32), spec((2, 32, 32), jnp.int32), spec((2, 32, 32), bool)
  loss = lambda *maps: losses.multires_pixel_contrast(losses.FusedGrid(*maps), block=64)
  compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*maps, *rest).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2048**2  # of one [N, N], if it were


@pytest.mark.parametrize("case", golden("cluda/single_cl"))
def test_one_resolution_matches_reference(case: Case):
  for order in ORDERS:
    loss = lambda x, order=order: losses.pixel_contrast(
      x, jnp.asarray(case.labels), weights=pseudo_weight(case), pixel_order=order, block=40
    )
    assert_gradients_match(case, loss, [jnp.asarray(case.feats)], ["feats"], order)


@pytest.mark.parametrize("case", golden("cluda/multires_cl"))
def test_two_resolutions_match_reference(case: Case):
  inputs = [jnp.asarray(case[name]) for name in ("lr_feats", "hr_feats", "weight")]
  rest = jnp.asarray(case.labels), jnp.asarray(case.hr_labels) != 0, pseudo_weight(case)
  for order in ORDERS:

    def parts(*maps, order=order, **options):
      return losses.multires_pixel_contrast(
        losses.FusedGrid(*maps, *rest), pixel_order=order, block=40, **options
      )

    assert_gradients_match(case, parts, inputs, ["lr", "hr", "weight"], order)
    _, low, high = jax.jit(functools.partial(parts, return_parts=True))(*inputs)
    close_loss(0.5 * low.mean(), case[f"loss_lr_lr_{order}"])
    close_loss(0.5 * high.mean(), case[f"loss_lr_hr_{order}"])
    anchors = jax.jit(functools.partial(parts, reduction="none"))(*inputs)
    close_map(2 * anchors.reshape(-1), case[f"anchor_loss_{order}"])
