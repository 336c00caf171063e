import doctest

import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.ops import pixels


def test_examples_run():
  assert doctest.testmod(pixels).failed == 0


def test_every_byte_has_its_place_between_0_and_1():
  unit = pixels.to_unit(np.arange(256, dtype=np.uint8))
  assert unit.dtype == jnp.float32 and unit[0] == 0 and unit[-1] == 1
  np.testing.assert_array_equal(np.round(255 * np.asarray(unit)), np.arange(256))


def test_bytes_and_other_channels_are_refused():
  with pytest.raises(ValueError, match="image has dtype uint8; expected floats"):
    pixels.standardise(jnp.zeros((2, 2, 3), jnp.uint8), (0.5,) * 3, (1.0,) * 3)
  with pytest.raises(ValueError, match=r"std has shape \(2,\), but image has shape \(2, 2, 3\)"):
    pixels.standardise(jnp.zeros((2, 2, 3)), (0.5,) * 3, (1.0,) * 2)
