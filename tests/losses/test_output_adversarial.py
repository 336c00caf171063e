import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.losses import _adversarial

D = jnp.array([[-2.0, 0.5], [1.5, 3.0]])


def test_the_generator_is_pulled_towards_the_source():
  value, grad = jax.value_and_grad(_adversarial.adversarial_generator_loss)(D)
  np.testing.assert_allclose(value, -np.mean(np.log(1 - 1 / (1 + np.exp(-D)))), rtol=1e-6)
  np.testing.assert_allclose(grad, jax.nn.sigmoid(D) / D.size, rtol=1e-6)


def test_both_domains_weigh_one_half_whatever_their_sizes():
  loss = _adversarial.adversarial_discriminator_loss
  np.testing.assert_allclose(loss(jnp.tile(D, (3, 1)), -D), loss(D, -D), rtol=1e-6)
  np.testing.assert_allclose(loss(D, -D), _adversarial.adversarial_generator_loss(D), rtol=1e-6)
  assert loss(D - 1, D) < loss(D, D) < loss(D, D - 1)


def test_maps_of_certain_discriminators_stay_finite():
  value, grad = jax.value_and_grad(_adversarial.adversarial_generator_loss)(1e4 * D)
  assert jnp.isfinite(value) and jnp.isfinite(grad).all()
