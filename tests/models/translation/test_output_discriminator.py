import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.models.translation import output_discriminator

PROBABILITY = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 65, 96, 3)))


def test_the_map_has_stride_32_and_the_layers_their_widths():
  module = output_discriminator.OutputDiscriminator(width=2)
  out, variables = module.init_with_output(jax.random.key(0), PROBABILITY)
  assert out.shape == (2, 2, 3, 1) and out.dtype == jnp.float32
  shapes = {name: layer["kernel"].shape for name, layer in variables["params"].items()}
  widths = (3, 2, 4, 8, 16, 1)
  names = ("conv1", "conv2", "conv3", "conv4", "classifier")
  assert shapes == {n: (4, 4, *widths[i : i + 2]) for i, n in enumerate(names)}


def test_weights_and_biases_start_uniform_within_the_fan_in():
  module = output_discriminator.OutputDiscriminator(width=8)
  params = module.init(jax.random.key(0), PROBABILITY)["params"]
  for layer in params.values():
    bound = np.prod(layer["kernel"].shape[:3]) ** -0.5
    assert 0.9 * bound < jnp.abs(layer["kernel"]).max() <= bound
    assert 0 < jnp.abs(layer["bias"]).max() <= bound


def test_half_precision_gives_float32_logits():
  module = output_discriminator.OutputDiscriminator(width=2, dtype=jnp.bfloat16)
  out, variables = module.init_with_output(jax.random.key(0), PROBABILITY)
  assert out.dtype == jnp.float32
  full = output_discriminator.OutputDiscriminator(width=2).apply(variables, PROBABILITY)
  np.testing.assert_allclose(out, full, atol=0.02)


def test_a_map_too_small_is_an_error():
  with pytest.raises(ValueError, match=r"shape \(1, 31, 40, 3\); H and W must be at least 32"):
    output_discriminator.OutputDiscriminator().init(jax.random.key(0), jnp.ones((1, 31, 40, 3)))
