import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda.memory import cam_prototypes
from jax_uda.memory.cam_prototypes import CamPrototypes
from jax_uda.ops import resize

KEYS = jax.random.split(jax.random.key(0), 5)
X = jax.random.normal(KEYS[0], (2, 3, 4, 5))  # [B, h, w, A]
CAM = jax.random.uniform(KEYS[1], (2, 3, 4, 3))
LABELS = jax.random.randint(KEYS[2], (2, 7, 9), 0, 3).at[1, 2:4].set(255)
SOURCE = jax.random.bernoulli(KEYS[3], 0.4, LABELS.shape)
OLD = np.linalg.qr(jax.random.normal(KEYS[4], (5, 3)))[0].T  # [3, 5], unit rows
STATE = CamPrototypes(jnp.asarray(OLD), jnp.array([0.0, 3.0, 50.0]))
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def dense_picks(top_k, warmup):
  """Normalised means [C, A] and numbers of picked pixels [C], by upsampling and sorting everything."""
  size = LABELS.shape[1:]
  x = np.asarray(resize.bilinear(X, size, align_corners=True)).reshape(-1, 5)
  cam = np.asarray(resize.bilinear(CAM, size, align_corners=True)).reshape(-1, 3)
  labels, source = np.asarray(LABELS).reshape(-1), np.asarray(SOURCE).reshape(-1)
  means, counts = np.zeros((3, 5)), np.zeros(3)
  for c in range(3):
    members = np.flatnonzero((labels == c) & (source | (not warmup)))
    weight = np.ones(len(members)) if warmup else cam[members, c]
    order = np.argsort(-weight, kind="stable")[:top_k]
    mean = weight[order] @ x[members[order]]
    means[c], counts[c] = mean / np.linalg.norm(mean), len(order)
  return means, counts


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("top_k", [4, 1000])  # 1000: more than there are
def test_picks_are_those_of_the_dense_formula_also_with_traced_warmup(top_k):
  update = jax.jit(functools.partial(cam_prototypes.update, momentum=0.8, top_k=top_k))
  for warmup in (False, True):
    means, counts = dense_picks(top_k, warmup)
    new = update(STATE, X, CAM, LABELS, source_mask=SOURCE, warmup=jnp.array(warmup))
    share = np.array([1.0, 0.2, 0.2])[:, None]
    close(new.prototypes, unit((1 - share) * OLD + share * means))
    np.testing.assert_array_equal(new.counts, STATE.counts + counts)


def test_the_new_mean_weighs_little_from_the_second_visit_on_or_as_a_running_mean():
  means, _ = dense_picks(4, warmup=False)
  for proto_ema, shares, counts in (
    ("code", [1.0, 0.1, 0.1], [4, 7, 54]),
    ("bias_corrected", [1.0, 1 / 4, 0.1], [1, 4, 51]),
  ):
    new = cam_prototypes.update(STATE, X, CAM, LABELS, momentum=0.9, top_k=4, proto_ema=proto_ema)
    share = np.array(shares)[:, None]
    close(new.prototypes, unit((1 - share) * OLD + share * means))
    assert new.counts.tolist() == counts


def test_defaults_are_the_published_ones():
  explicit = dict(
    source_mask=jnp.ones(LABELS.shape, bool),
    warmup=False,
    ori_size=True,
    momentum=0.999,
    top_k=32,
    proto_ema="code",
  )
  for default, published in zip(
    cam_prototypes.update(STATE, X, CAM, LABELS),
    cam_prototypes.update(STATE, X, CAM, LABELS, **explicit),
    strict=True,
  ):
    np.testing.assert_array_equal(default, published)


def test_without_activation_the_prototype_stays_but_its_pixels_are_counted_as_published():
  cam = CAM.at[..., 1].set(0.0)
  new = cam_prototypes.update(STATE, X, cam, LABELS, top_k=4)
  close(new.prototypes[1], OLD[1])
  assert new.counts[1] == 7
  assert (jnp.abs(new.prototypes - STATE.prototypes).max(-1) > 1e-4).tolist() == [True, False, True]
  corrected = cam_prototypes.update(STATE, X, cam, LABELS, top_k=4, proto_ema="bias_corrected")
  assert corrected.counts.tolist() == [1, 3, 51]


def test_among_equals_the_first_pixels_are_picked():
  x = jnp.arange(8.0).reshape(2, 2, 2, 1) - 1.5
  labels = jnp.array([[[1, 0], [1, 1]], [[0, 0], [0, 0]]])
  two = jnp.concatenate([x, jnp.ones_like(x)], -1)  # [value, 1]: the ratio is the mean value
  state = cam_prototypes.empty_cam_prototypes(2, 2)
  new = cam_prototypes.update(state, two, jnp.ones((2, 2, 2, 2)), labels, top_k=2)
  picked_mean = new.prototypes[:, 0] / new.prototypes[:, 1]
  close(picked_mean, [(1 + 4) / 2 - 1.5, (0 + 2) / 2 - 1.5])


def test_low_resolution_takes_the_first_pixel_of_a_cell():
  labels = jnp.full((1, 4, 4), 255).at[0, 2, 0].set(0).at[0, 1, 1].set(1)
  x = jnp.array([[[[1.0, 0.0], [0.0, 1.0]], [[3.0, 4.0], [1.0, 1.0]]]])
  state = cam_prototypes.empty_cam_prototypes(2, 2)
  new = cam_prototypes.update(state, x, jnp.ones((1, 2, 2, 2)), labels, ori_size=False)
  close(new.prototypes, [[0.6, 0.8], [0.0, 0.0]])
  assert new.counts.tolist() == [1, 0]
  mask = jnp.ones(labels.shape, bool).at[0, 2, 0].set(False)
  new = cam_prototypes.update(
    state, x, jnp.ones((1, 2, 2, 2)), labels, source_mask=mask, warmup=True, ori_size=False
  )
  assert not new.counts.any()


def test_unsigned_labels_keep_255_ignored():
  update = functools.partial(cam_prototypes.update, STATE, X, CAM, source_mask=SOURCE, warmup=True)
  jax.tree.map(np.testing.assert_array_equal, update(LABELS.astype(jnp.uint8)), update(LABELS))


def test_published_size_needs_little_memory():
  shape = lambda *s, dtype=jnp.float32: jax.ShapeDtypeStruct(s, dtype)
  specs = (
    CamPrototypes(shape(19, 512), shape(19)),
    shape(2, 64, 64, 512),
    shape(2, 64, 64, 19),
    shape(2, 512, 512, dtype=jnp.int32),
  )
  compiled = jax.jit(cam_prototypes.update).lower(*specs).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 100e6


@pytest.mark.parametrize("case", golden("confeti/proto_update"))
def test_matches_reference(case: Case):
  """Tolerances of golden/confeti/README.md."""
  update = jax.jit(
    functools.partial(
      cam_prototypes.update,
      momentum=float(case.momentum),
      ori_size=bool(case.ori_size),
      top_k=int(case.top_k),
    )
  )
  state = CamPrototypes(jnp.asarray(case.proto[0]), jnp.asarray(case.count[0]))
  assert state.prototypes.shape == (case.num_classes, case.proto_dim)
  for step in range(len(case.feat)):
    inputs = (jnp.asarray(case[name][step]) for name in ("feat", "cam", "label"))
    state = update(
      state,
      *inputs,
      source_mask=jnp.asarray(case.source_mask[step]),
      warmup=jnp.asarray(case.use_warmup[step]),
    )
    assert_close(state.prototypes, case.proto[step + 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.counts, case.count[step + 1])


@pytest.mark.parametrize("case", golden("confetii/proto_update"))
def test_the_updates_of_confetii_match_reference(case: Case):
  """Tolerances of golden/confetii/README.md."""
  momentum = float(case.momentum)
  by_means = jax.jit(functools.partial(cam_prototypes.update_by_means, momentum=momentum))
  by_activations = jax.jit(
    functools.partial(
      cam_prototypes.update,
      momentum=momentum,
      top_k=int(case.top_k),
      proto_ema="bias_corrected",
      align_corners=False,
    )
  )
  state = CamPrototypes(jnp.asarray(case.proto[0]), jnp.asarray(case.count[0], jnp.float32))
  for step, uses_cam in enumerate(case.use_cam):
    feat, cam, label = (jnp.asarray(case[name][step]) for name in ("feat", "cam", "label"))
    if uses_cam:
      state = by_activations(state, feat, cam, label)
    else:
      state = by_means(state, feat, label)
    assert_close(state.prototypes, case.proto[step + 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.counts, case.count[step + 1])


def test_the_mean_of_all_pixels_is_that_of_the_upsampled_map():
  new = cam_prototypes.update_by_means(STATE, X, LABELS, momentum=0.9)
  x = np.asarray(resize.bilinear(X, LABELS.shape[1:])).reshape(-1, 5)
  labels = np.asarray(LABELS).reshape(-1)
  means = unit(np.stack([x[labels == c].mean(0) for c in range(3)]))
  share = np.array([1.0, 1 / 4, 0.1])[:, None]
  close(new.prototypes, unit((1 - share) * OLD + share * means))
  assert new.counts.tolist() == [1, 4, 51]
