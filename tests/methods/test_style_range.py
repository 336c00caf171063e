import golden_cases
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.methods import _gan as translator
from jax_uda.ops import pixels


def test_black_and_white_are_minus_one_and_one():
  rgb = jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.5, 1.0]])
  np.testing.assert_array_equal(translator.to_gan(rgb), [[-1, -1, -1], [1, 1, 1], [-1, 0, 1]])


def test_one_undoes_the_other_without_clipping():
  image = jnp.linspace(-9, 9, 24).reshape(2, 2, 2, 3)
  back = translator.from_gan(translator.to_gan(image))
  np.testing.assert_allclose(back, image, atol=1e-5)


def test_pixel_values_are_refused():
  for convert in (translator.to_gan, translator.from_gan):
    with pytest.raises(ValueError, match="image has dtype uint8"):
      convert(jnp.zeros((2, 2, 3), jnp.uint8))


@pytest.mark.parametrize("case", golden("confeti/style_range"))
def test_the_range_of_the_translator_matches_reference(case):
  mean, std = jnp.asarray(case["mean"]) / 255, jnp.asarray(case["std"]) / 255
  gan_input = translator.to_gan(case.img_normed * std + mean)
  golden_cases.assert_close(gan_input, case.gan_input, rtol=1e-5, atol=1e-5)
  image = pixels.standardise(translator.from_gan(jnp.asarray(case.gan_output)), mean, std)
  golden_cases.assert_close(image, case.img_from_gan, rtol=1e-5, atol=1e-5)
