import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.ops import sampling

pytestmark = pytest.mark.fast

VALID = jnp.arange(60).reshape(3, 20) % 3 != 1  # 40 valid pixels


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (15, 15), (40, 40), (41, 40), (99, 40)])
def test_as_many_valid_pixels_are_chosen_as_there_are_up_to_the_count(count, expected):
  weights = sampling.sample_valid(VALID, count, key=jax.random.key(0))
  assert weights.shape == VALID.shape and weights.dtype == jnp.float32
  assert weights.sum() == expected and set(np.unique(weights)) <= {0.0, 1.0}
  assert not (weights * ~VALID).any()


def test_nothing_valid_chooses_nothing():
  assert not sampling.sample_valid(jnp.zeros(9), 4, key=jax.random.key(0)).any()


def test_equal_uniforms_do_not_choose_more_than_the_count():
  weights = sampling.sample_valid(VALID, 7, uniforms=jnp.zeros(VALID.shape))
  assert weights.sum() == 7 and not weights[1:].any()


def test_every_valid_pixel_is_chosen_equally_often():
  draw = jax.jit(jax.vmap(lambda key: sampling.sample_valid(VALID, 10, key=key)))
  share = draw(jax.random.split(jax.random.key(1), 2000)).mean(0)[VALID]
  assert jnp.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_mistakes_are_errors_that_name_the_argument():
  key, uniforms = jax.random.key(0), jnp.zeros(VALID.shape)
  for options in ({}, {"key": key, "uniforms": uniforms}):
    with pytest.raises(ValueError, match="either key or uniforms"):
      sampling.sample_valid(VALID, 4, **options)
  with pytest.raises(ValueError, match="count = 0"):
    sampling.sample_valid(VALID, 0, key=key)
