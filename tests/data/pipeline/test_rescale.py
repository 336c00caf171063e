import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.data.pipeline import rescale
from jax_uda.models.encoders import imagenet
from jax_uda.ops import pixels

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_sizes_match_the_reference(case):
  assert case.parts("size")
  for part in case.parts("size"):
    width, height = part.scale_wh
    assert rescale.keep_ratio_size(tuple(part.in_hw), (height, width)) == tuple(part.out_hw)


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_images_and_labels_match_the_reference(case):
  for image, label in zip(case.parts("img"), case.parts("lab"), strict=True):
    width, height = image.size_wh.tolist()
    resized = rescale.resize_image(case.img_in, (height, width))
    assert_close(resized, image.out, rtol=0, atol=1)
    np.testing.assert_array_equal(rescale.resize_label(case.lab_in, (height, width)), label.out)


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_standardised_images_match_the_reference(case):
  rgb = case.norm_in_bgr_u8[..., ::-1]
  image = pixels.standardise(pixels.to_unit(rgb), imagenet.MEAN, imagenet.STD)
  assert_close(image, case.norm_out_rgb, rtol=1e-5)
