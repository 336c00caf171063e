import golden_cases
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.methods import _translator as translator

MEAN, STD = (100.0, 120.0, 140.0), (50.0, 60.0, 70.0)


def test_black_and_white_are_minus_one_and_one():
  rgb = jnp.array([[0.0, 0.0, 0.0], [255.0, 255.0, 255.0], [0.0, 127.5, 255.0]])
  normalised = (rgb - jnp.array(MEAN)) / jnp.array(STD)
  expected = [[-1, -1, -1], [1, 1, 1], [-1, 0, 1]]
  np.testing.assert_allclose(translator.to_gan(normalised, MEAN, STD), expected, atol=1e-6)


def test_one_undoes_the_other_without_clipping():
  image = jnp.linspace(-9, 9, 24).reshape(2, 2, 2, 3)
  back = translator.from_gan(translator.to_gan(image, MEAN, STD), MEAN, STD)
  np.testing.assert_allclose(back, image, atol=1e-5)


def test_mistakes_are_errors_that_name_the_argument():
  for convert in (translator.to_gan, translator.from_gan):
    with pytest.raises(ValueError, match="image has dtype uint8"):
      convert(jnp.zeros((2, 2, 3), jnp.uint8), MEAN, STD)
    with pytest.raises(ValueError, match=r"std has shape \(2,\), but image has shape \(2, 2, 3\)"):
      convert(jnp.zeros((2, 2, 3)), MEAN, STD[:2])


@pytest.mark.parametrize("case", golden("confeti/style_range"))
def test_the_range_of_the_translator_matches_reference(case):
  mean, std = case["mean"].tolist(), case["std"].tolist()
  gan_input = translator.to_gan(jnp.asarray(case.img_normed), mean, std)
  golden_cases.assert_close(gan_input, case.gan_input, rtol=1e-5, atol=1e-5)
  image = translator.from_gan(jnp.asarray(case.gan_output), mean, std)
  golden_cases.assert_close(image, case.img_from_gan, rtol=1e-5, atol=1e-5)
