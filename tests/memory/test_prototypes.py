import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses, memory
from jax_uda.memory import prototypes
from jax_uda.ops import arrays

pytestmark = pytest.mark.fast

KEYS = jax.random.split(jax.random.key(0), 3)
X = jax.random.normal(KEYS[0], (4, 3, 5, 6))  # [B, h, w, A]
LABELS = jax.random.randint(KEYS[1], (4, 3, 5), 0, 3).at[1].set(0).at[2].set(255)
OLD = jax.random.normal(KEYS[2], (4, 6))


def test_decay_is_the_weight_of_the_old_prototypes():
  means, counts = memory.class_means(X, LABELS, 4)
  update = functools.partial(prototypes.update, OLD, means, counts)
  np.testing.assert_allclose(update(decay=0.0)[:3], means[:3], rtol=1e-6)
  np.testing.assert_array_equal(update(decay=1.0), OLD)
  np.testing.assert_allclose(update(decay=0.1)[:3], 0.1 * OLD[:3] + 0.9 * means[:3], rtol=1e-6)


def test_absent_classes_are_kept_or_vanish_and_their_means_are_not_read():
  means, counts = memory.class_means(X, LABELS, 4)
  for value in (0.0, jnp.nan):
    update = functools.partial(prototypes.update, OLD, means.at[3].set(value), counts, decay=0.1)
    np.testing.assert_array_equal(update()[3], OLD[3])
    np.testing.assert_allclose(update(keep_absent=False)[3], 0.1 * OLD[3], rtol=1e-6)
    np.testing.assert_array_equal(update(keep_absent=False)[:3], update()[:3])


def test_groups_are_independent_of_each_other():
  groups = jax.vmap(lambda x, y: memory.class_means(x, y, 4))(X, LABELS)  # one image a group
  start = jnp.tile(OLD, (4, 1, 1))
  new = jax.vmap(functools.partial(prototypes.update, decay=0.3))(start, *groups)
  for g in range(4):
    alone = prototypes.update(OLD, *memory.class_means(X[g], LABELS[g], 4), decay=0.3)
    np.testing.assert_allclose(new[g], alone, rtol=1e-6)
  np.testing.assert_array_equal(new[2], OLD)  # its only image has no valid pixel


def test_an_image_counts_once_however_many_pixels_it_has():
  x = arrays.l2_normalize(X)
  state = prototypes.add_images(prototypes.empty_prototype_sums(4, 6), x, LABELS)
  sums, images = np.zeros((4, 6)), np.zeros(4)
  for features, label in zip(np.asarray(x), np.asarray(LABELS), strict=True):
    for c in range(3):
      if (label == c).any():
        sums[c] += features[label == c].mean(0)
        images[c] += 1
  np.testing.assert_array_equal(state.images, images)
  mean = sums / np.maximum(images, 1)[:, None]
  np.testing.assert_allclose(prototypes.prototypes_of(state), mean, rtol=1e-5, atol=1e-6)


def test_images_may_come_in_batches_of_any_size():
  empty = prototypes.empty_prototype_sums(4, 6)
  together = prototypes.add_images(empty, X, LABELS)
  apart = functools.reduce(
    lambda state, i: prototypes.add_images(state, X[i], LABELS[i]), range(4), empty
  )
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), together, apart)


close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def source_mask(label, logits, case: Case):
  """The label at the logits' grid, where their argmax agrees with it."""
  small = losses.nearest_label(label, logits.shape[-3:-1])
  return losses.correct_label(small, logits, int(case.ignore_index))


@pytest.mark.parametrize("case", golden("spcl/proto_init"))
def test_the_start_matches_reference(case: Case):
  num_classes = int(case.num_classes)
  features = arrays.l2_normalize(jnp.asarray(case.src_feat))
  mask = source_mask(jnp.asarray(case.src_label), jnp.asarray(case.src_logits), case)
  np.testing.assert_array_equal(mask, case.src_mask)
  images = jax.vmap(lambda x, y: memory.class_means(x, y, num_classes))(features, mask)
  np.testing.assert_array_equal(images.counts, case.image_class_count)
  close(images.means, np.nan_to_num(case.image_class_mean))
  add = jax.jit(prototypes.add_images)
  state = prototypes.empty_prototype_sums(num_classes, features.shape[-1])
  for x, y in zip(features, mask, strict=True):
    state = add(state, x[None], y[None])
  close(prototypes.prototypes_of(state), case.prototypes)
  np.testing.assert_array_equal(state.images > 0, case.class_seen)


@pytest.mark.parametrize("case", golden("spcl/proto_update_seq"))
def test_a_sequence_of_updates_matches_reference(case: Case):
  @functools.partial(jax.jit, static_argnames="keep_absent")
  def step(mu, features, label, logits, keep_absent):
    mask = source_mask(label, logits, case)
    batch = memory.class_means(arrays.l2_normalize(features), mask, len(mu))
    new = prototypes.update(mu, *batch, decay=float(case.alpha), keep_absent=keep_absent)
    return new, mask, batch

  for keep_absent, expected in (
    (False, case.prototypes),
    (True, case.prototypes_keep_absent),
  ):
    mu = jnp.asarray(case.prototypes0)
    for t, arguments in enumerate(zip(case.src_feat, case.src_label, case.src_logits, strict=True)):
      mu, mask, batch = step(mu, *arguments, keep_absent=keep_absent)
      np.testing.assert_array_equal(mask, case.src_mask[t])
      close(batch.means, case.batch_mean[t])
      np.testing.assert_array_equal(batch.counts > 0, case.class_present[t])
      close(mu, expected[t])


@pytest.mark.parametrize("case", golden("spcl/groups"))
def test_groups_of_prototypes_and_their_losses_match_reference(case: Case):
  contrast = functools.partial(
    losses.prototype_cross_entropy, temperature=float(case.tau), normalize=True
  )

  def group_loss(src_feat, tgt_feat, mu, label, logits, tgt_mask):
    mask = source_mask(label, logits, case)
    batch = memory.class_means(arrays.l2_normalize(src_feat), mask, len(mu))
    mu = prototypes.update(mu, *batch, decay=float(case.alpha), keep_absent=False)
    return contrast(src_feat, mask, mu) + contrast(tgt_feat, tgt_mask, mu), mu

  constants = [
    jnp.asarray(case[name]) for name in ("prototypes0", "src_label", "src_logits", "tgt_mask")
  ]

  def loss(src_feat, tgt_feat):
    values, mu = jax.vmap(group_loss)(src_feat, tgt_feat, *constants)
    return jnp.mean(values), (values, mu)

  value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (value, (values, mu)), grads = value_and_grad(case.src_feat, case.tgt_feat)
  np.testing.assert_allclose(value, case.loss, rtol=1e-5)
  np.testing.assert_allclose(values, case.loss_per_group, rtol=1e-5)
  close(mu, case.prototypes)
  assert_close(grads[0], case.grad_src_feat, 1e-4)
  assert_close(grads[1], case.grad_tgt_feat, 1e-4)
