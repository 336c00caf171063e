"""The class-balanced crop agrees with the reference; tolerances of golden/sepico/README.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.views import balanced_crop

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("sepico/cbc_crop"))
def test_scores_and_the_chosen_crop_match_reference(case):
  label, size = jnp.asarray(case.label), tuple(case.crop_size.tolist())
  num_classes = int(case.label[case.label != 255].max()) + 1
  offsets = jnp.asarray(case.candidates_yx)
  score = jax.jit(
    lambda: balanced_crop.crop_scores(
      label, offsets, size, num_classes=num_classes, max_class_ratio=float(case.cat_max_ratio)
    )
  )()
  np.testing.assert_allclose(score, case.score, rtol=1e-5, atol=1e-5)
  chosen = int(jnp.argmax(score))
  assert chosen == int(case.chosen)
  np.testing.assert_array_equal(offsets[chosen], case.chosen_yx)
  cropped = balanced_crop.crop(label, offsets[chosen], size)
  np.testing.assert_array_equal(cropped, case.cropped_label)
