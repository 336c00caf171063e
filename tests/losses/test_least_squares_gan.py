import jax.numpy as jnp

from jax_uda.losses import _adversarial


def test_the_players_agree_on_which_side_is_real():
  real, fake = jnp.ones((1, 2, 2, 1)), jnp.zeros((2, 3, 3, 1))
  assert _adversarial.least_squares_discriminator_loss(fake, real) == 0
  assert _adversarial.least_squares_discriminator_loss(real, fake) == 1
  assert _adversarial.least_squares_generator_loss(real) == 0
  assert _adversarial.least_squares_generator_loss(fake) == 1


def test_real_and_fake_count_alike_whatever_their_sizes():
  loss = _adversarial.least_squares_discriminator_loss
  assert loss(jnp.full(2, 2.0), jnp.full(9, 1.0)) == loss(jnp.full(7, 2.0), jnp.full(3, 1.0)) == 2
