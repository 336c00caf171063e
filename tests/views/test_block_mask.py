"""MIC's block masking agrees with the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.ops import pixels
from jax_uda.views import block_mask

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/mic_block_mask"))
def test_matches_reference(case):
  for part in case.parts():
    batch, height, width, block = part.in_BHWb.tolist()
    uniform = part.uniform[..., 0]
    drawn = block_mask.draw(jax.random.key(0), batch, (height, width), block)
    assert drawn.shape == uniform.shape
    keep = block_mask.keep(jnp.asarray(uniform), (height, width), ratio=float(part.ratio))
    np.testing.assert_array_equal(keep, part.mask.astype(bool))


def test_masked_patches_take_the_mean_colour_and_the_others_stay():
  image = jax.random.uniform(jax.random.key(0), (2, 8, 12, 3))
  mean = np.array([0.485, 0.456, 0.406], np.float32)
  uniform = block_mask.draw(jax.random.key(1), 2, (8, 12), 4)
  masked = block_mask.apply(image, uniform, ratio=0.5, color=mean)
  keep = np.repeat(np.repeat(np.asarray(uniform) > 0.5, 4, 1), 4, 2)
  np.testing.assert_array_equal(masked, np.where(keep[..., None], image, mean))
  standard = pixels.standardise(masked, mean, (0.229, 0.224, 0.225))
  assert not np.asarray(standard)[~keep].any()  # what the network sees
  assert 0 < keep.mean() < 1


def test_an_image_smaller_than_a_patch_is_one_patch():
  assert block_mask.draw(jax.random.key(0), 1, (3, 200), 64).shape == (1, 1, 3)


def test_a_patch_without_size_is_refused():
  with pytest.raises(ValueError, match="block = 0"):
    block_mask.draw(jax.random.key(0), 1, (8, 8), 0)
