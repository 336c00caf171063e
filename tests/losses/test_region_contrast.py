import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda.losses import region_contrast
from jax_uda.memory import region_queue
from jax_uda.ops import labels
from jax_uda.ops.ramp import exponential_ramp
from jax_uda.views import cutmix

KEYS = jax.random.split(jax.random.key(0), 2)
unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
Z, T = unit(jax.random.normal(KEYS[0], (2, 7, 5)))
ROWS = unit(jax.random.normal(KEYS[1], (11, 5)))
ROW_LABELS = jnp.array([0, 1, 2, 0, 255, 1, 2, 2, 1, 0, 1])
Y = jnp.array([0, 1, 2, 255, 0, 1, 2])
W = jnp.array([1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 1.0])


def dense(z, first_rows, epsilon):
  """The formula, anchor by anchor."""
  values, weights = [], []
  for i in range(7):
    if Y[i] == 255:
      continue
    p, s = z[i] @ T[i] / 0.3, ROWS @ z[i] / 0.3
    m = jnp.maximum(p, s[:first_rows].max())
    rest = jnp.exp(s - m)[np.asarray(ROW_LABELS) != int(Y[i])].sum()
    positive = jnp.exp(p - m)
    values.append(-jnp.log(positive / (positive + rest + epsilon) + epsilon))
    weights.append(W[i])
  return jnp.sum(jnp.array(values) * jnp.array(weights)) / sum(weights)


def loss(z, first_rows=100, epsilon=1e-8, block=3):
  return region_contrast(
    z,
    T,
    Y,
    ROWS,
    ROW_LABELS,
    weights=W,
    temperature=0.3,
    first_rows=first_rows,
    epsilon=epsilon,
    block=block,
  )


@pytest.mark.parametrize(("first_rows", "epsilon"), [(100, 1e-8), (3, 0.1), (100, 3.0), (3, 0.0)])
def test_it_is_its_formula_written_anchor_by_anchor(first_rows, epsilon):
  """A large epsilon shows the gradient that flows through the maximum."""
  value, grad = jax.value_and_grad(loss)(Z, first_rows, epsilon)
  expected, expected_grad = jax.value_and_grad(dense)(Z, first_rows, epsilon)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(grad, expected_grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_do_not_matter(block):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    jax.value_and_grad(lambda z: loss(z, block=block))(Z),
    jax.value_and_grad(loss)(Z),
  )


def test_rows_that_hold_nothing_play_no_part():
  valid = jnp.arange(11) < 6
  part = region_contrast(Z, T, Y, ROWS[:6], ROW_LABELS[:6], temperature=0.3)
  garbage = ROWS.at[6:].set(30.0)
  whole = region_contrast(Z, T, Y, garbage, ROW_LABELS, queue_valid=valid, temperature=0.3)
  np.testing.assert_allclose(whole, part, rtol=1e-6)


def test_rows_beyond_the_maximum_do_not_overflow():
  # At this temperature rows exceed the positive and the first row by far more than exp can hold.
  loss = lambda z: region_contrast(z, -z, Y, ROWS, ROW_LABELS, temperature=0.002, first_rows=1)
  value, grad = jax.value_and_grad(loss)(Z)
  np.testing.assert_allclose(value, -np.log(1e-8), rtol=1e-5)
  assert jnp.isfinite(grad).all()


def test_an_empty_queue_leaves_the_positive_alone():
  value = region_contrast(Z, T, Y, ROWS, ROW_LABELS, queue_valid=jnp.zeros(11, bool))
  np.testing.assert_allclose(value, 0, atol=1e-6)


@pytest.mark.parametrize("case", golden("rccr/region_contrast"))
def test_the_loss_and_its_queue_match_reference(case: Case):
  """Tolerances of golden/rccr/README.md."""
  close = lambda actual, expected: np.testing.assert_allclose(actual, expected, 1e-5, 1e-6)
  equal = np.testing.assert_array_equal
  grid, cell = case.target_label.shape[2:], int(case.cell)
  dim, num_selected = case.mix2_embedding.shape[-1], int(case.n_select)
  queue = region_queue.empty_region_queue(int(case.bank_capacity), 2 * num_selected, dim)

  def loss(mixed, target, label, weight, rows):
    return region_contrast(
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
    np.testing.assert_allclose(value, case.loss[t], rtol=1e-4, atol=1e-6)
    assert_close(grad, case.grad_mix2_embedding[t], rtol=1e-3, atol=1e-6)
    close(exponential_ramp(case.iter[t], int(case.num_iterations)), case.weight[t])
  length = int(queue.length)
  shape = (int(case.bank_capacity), 2 * num_selected)
  close(rows.embeddings.reshape(*shape, dim)[:length], case.bank_feat_final)
  equal(rows.labels.reshape(shape)[:length], case.bank_label_final)
