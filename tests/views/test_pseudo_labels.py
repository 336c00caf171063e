import golden_cases
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.ops import labels
from jax_uda.views import pseudo_labels

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/pseudo_label"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    found = pseudo_labels.pseudo_label(
      jnp.asarray(part.logits),
      part.label.shape[1:],
      threshold=float(part.threshold),
      ignore_top=int(part.ignore_top),
      ignore_bottom=int(part.ignore_bottom),
      valid=part.valid_mask if "valid_mask" in part else None,
    )
    np.testing.assert_array_equal(found.label, part.label)
    np.testing.assert_allclose(found.confident_fraction, part.q, atol=1e-6)
    np.testing.assert_allclose(found.weight, part.weight, atol=1e-6)


def test_a_tie_takes_the_lowest_class():
  found = pseudo_labels.pseudo_label(jnp.zeros((1, 2, 2, 4)), (2, 2), threshold=0.25)
  assert (found.label == 0).all() and (found.weight == 1).all()


def test_the_fraction_is_of_the_whole_batch_margins_included():
  logits = jnp.zeros((2, 4, 4, 3)).at[0, :, :, 1].set(50.0)
  found = pseudo_labels.pseudo_label(logits, (4, 4), threshold=0.9, ignore_top=1, ignore_bottom=2)
  assert found.confident_fraction == 0.5
  assert (found.weight[:, 1] == 0.5).all() and found.weight.sum() == 0.5 * 2 * 4


def test_invalid_pixels_weigh_nothing_and_still_count_in_the_fraction():
  logits = jnp.zeros((1, 2, 2, 3)).at[0, 0, :, 2].set(50.0)
  valid = jnp.array([[[1, 0], [1, 1]]])
  found = pseudo_labels.pseudo_label(logits, (2, 2), threshold=0.9, valid=valid)
  assert found.confident_fraction == 0.5
  np.testing.assert_array_equal(found.weight, 0.5 * valid)


def test_a_valid_mask_of_another_shape_is_an_error():
  with pytest.raises(ValueError, match=r"valid has shape \(2,\)"):
    pseudo_labels.pseudo_label(jnp.zeros((1, 2, 2, 3)), (2, 2), threshold=0.9, valid=jnp.ones(2))


def test_weights_can_be_of_each_pixel():
  logits = jnp.zeros((1, 4, 4, 3)).at[0, :2, :, 1].set(50.0)
  found = pseudo_labels.pseudo_label(logits, (4, 4), threshold=0.9, ignore_top=1, per_pixel=True)
  assert found.weight[0, :, 0].tolist() == [0, 1, 0, 0]
  assert found.confident_fraction == 0.5


@pytest.mark.parametrize("case", golden("sepico/pseudo_label"))
def test_labels_and_weights_of_sepico_match_reference(case):
  pseudo = pseudo_labels.pseudo_label(
    jnp.asarray(case.logits),
    tuple(case.image_hw.tolist()),
    threshold=float(case.pseudo_threshold),
    ignore_top=int(case.ignore_top),
    ignore_bottom=int(case.ignore_bottom),
  )
  close = lambda actual, expected: np.testing.assert_allclose(actual, expected, 1e-5, 1e-5)
  np.testing.assert_array_equal(pseudo.label, case.pseudo_label)
  close(pseudo.confidence, case.prob)
  close(pseudo.weight, case.pseudo_weight)
  close(pseudo.confident_fraction, case.confident_fraction)
  contrast_label = labels.ignore_unweighted(pseudo.label, pseudo.weight)
  np.testing.assert_array_equal(contrast_label, case.cl_label)
