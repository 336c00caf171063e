import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.data.pipeline import rescale
from jax_uda.models.encoders import imagenet
from jax_uda.ops import pixels


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_sizes_match_the_reference(case):
  sizes = case.parts("size")
  assert len(sizes) == 7
  for part in sizes:
    width, height = part.scale_wh
    assert rescale.keep_ratio_size(tuple(part.in_hw), (height, width)) == tuple(part.out_hw)


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_images_and_labels_match_the_reference(case):
  for i in range(3):
    width, height = case[f"img{i}_size_wh"].tolist()
    image = rescale.resize_image(case.img_in, (height, width))
    assert_close(image, case[f"img{i}_out"], rtol=0, atol=1)
    label = rescale.resize_label(case.lab_in, (height, width))
    np.testing.assert_array_equal(label, case[f"lab{i}_out"])


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_standardised_images_match_the_reference(case):
  rgb = case.norm_in_bgr_u8[..., ::-1]
  image = pixels.standardise(pixels.to_unit(rgb), imagenet.MEAN, imagenet.STD)
  assert_close(image, case.norm_out_rgb, rtol=1e-5)
