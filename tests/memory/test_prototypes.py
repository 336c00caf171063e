import functools

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import memory
from jax_uda.memory import prototypes
from jax_uda.ops import arrays

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
