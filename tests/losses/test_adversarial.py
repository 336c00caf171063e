import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses
from jax_uda.models.translation import output_discriminator
from jax_uda.ops import resize
from jax_uda.step import optimizer

D = jnp.array([[-2.0, 0.5], [1.5, 3.0]])


def test_the_generator_is_pulled_towards_the_source():
  value, grad = jax.value_and_grad(losses.adversarial_generator_loss)(D)
  np.testing.assert_allclose(value, -np.mean(np.log(1 - 1 / (1 + np.exp(-D)))), rtol=1e-6)
  np.testing.assert_allclose(grad, jax.nn.sigmoid(D) / D.size, rtol=1e-6)


def test_both_domains_weigh_one_half_whatever_their_sizes():
  loss = losses.adversarial_discriminator_loss
  np.testing.assert_allclose(loss(jnp.tile(D, (3, 1)), -D), loss(D, -D), rtol=1e-6)
  np.testing.assert_allclose(loss(D, -D), losses.adversarial_generator_loss(D), rtol=1e-6)
  assert loss(D - 1, D) < loss(D, D) < loss(D, D - 1)


def test_maps_of_certain_discriminators_stay_finite():
  value, grad = jax.value_and_grad(losses.adversarial_generator_loss)(1e4 * D)
  assert jnp.isfinite(value) and jnp.isfinite(grad).all()


def test_the_players_agree_on_which_side_is_real():
  real, fake = jnp.ones((1, 2, 2, 1)), jnp.zeros((2, 3, 3, 1))
  assert losses.least_squares_discriminator_loss(fake, real) == 0
  assert losses.least_squares_discriminator_loss(real, fake) == 1
  assert losses.least_squares_generator_loss(real) == 0
  assert losses.least_squares_generator_loss(fake) == 1


def test_real_and_fake_images_count_alike_whatever_their_sizes():
  loss = losses.least_squares_discriminator_loss
  assert loss(jnp.full(2, 2.0), jnp.full(9, 1.0)) == loss(jnp.full(7, 2.0), jnp.full(3, 1.0)) == 2


@pytest.mark.parametrize("case", golden("confeti/lsgan"))
def test_the_least_squares_losses_match_reference(case: Case):
  close = lambda actual, expected: assert_close(actual, expected, rtol=1e-5, atol=1e-6)
  fake, real = jnp.asarray(case.pred_fake), jnp.asarray(case.pred_real)
  discriminator = losses.least_squares_discriminator_loss
  close(2 * discriminator(fake, jnp.ones_like(real)), case.loss_D_fake)
  close(2 * discriminator(jnp.zeros_like(fake), real), case.loss_D_real)
  value, grads = jax.jit(jax.value_and_grad(discriminator, (0, 1)))(fake, real)
  close(value, case.loss_D)
  close(grads[0], case.grad_D_pred_fake)
  close(grads[1], case.grad_D_pred_real)
  value, grad = jax.jit(jax.value_and_grad(losses.least_squares_generator_loss))(fake)
  close(value, case.loss_G_GAN)
  close(grad, case.grad_G_pred_fake)


def discriminator_params(case: Case, prefix: str):
  names = {"weight": "kernel", "bias": "bias"}
  params = {}
  for key, value in case.group(prefix).items():
    layer, kind = key.split(".")
    params.setdefault(layer, {})[names[kind]] = jnp.asarray(value)
  return params


@pytest.mark.parametrize("case", golden("spcl/adv_warmup"))
def test_steps_of_both_networks_match_reference(case: Case):
  """Tolerances of golden/spcl/README.md."""
  close = lambda actual, expected, atol=0.0: np.testing.assert_allclose(
    actual, expected, 1e-5, atol
  )
  upsampled = lambda logits, size: resize.bilinear(
    logits, tuple(int(n) for n in size), align_corners=True
  )
  params = discriminator_params(case, "D/")
  module = output_discriminator.OutputDiscriminator(width=params["conv1"]["bias"].size)
  apply = lambda params, x: module.apply({"params": params}, jax.nn.softmax(x))
  src, tgt = jnp.asarray(case.src_logits), jnp.asarray(case.tgt_logits)
  label, temperature = jnp.asarray(case.src_label), float(case.temperature)
  # The source map that D sees is tempered, the target map is not.
  maps = upsampled(src, label.shape[1:]) / temperature, upsampled(tgt, case.tgt_size)

  def segmentation(logits):
    logits = upsampled(logits, label.shape[1:]) / temperature
    return losses.weighted_cross_entropy(logits, label, denominator="valid")

  def generator(tgt, params):
    d_out = apply(params, upsampled(tgt, case.tgt_size))
    loss = losses.adversarial_generator_loss(d_out)
    return float(case.lambda_adv) * loss, (loss, d_out)

  def discriminator(params):
    d_src, d_tgt = (apply(params, x) for x in maps)
    source_term = losses.adversarial_generator_loss(d_src) / 2
    return losses.adversarial_discriminator_loss(d_src, d_tgt), (source_term, d_src)

  @jax.jit
  def step(params, state):
    segmented = jax.value_and_grad(segmentation)(src)
    (_, adversarial), grad_tgt = jax.value_and_grad(generator, has_aux=True)(tgt, params)
    (loss, aux), grad = jax.value_and_grad(discriminator, has_aux=True)(params)
    updates, state = tx.update(grad, state, params)
    outputs = segmented, adversarial, grad_tgt, loss, aux, grad
    return optax.apply_updates(params, updates), state, outputs

  b1, b2 = case.adam_betas.tolist()
  rate = float(case.lr_d)
  tx = optimizer.build(lambda _: rate, name="adamw", weight_decay=0.0, b1=b1, b2=b2)
  state = tx.init(params)
  for t in range(int(case.n_steps)):
    params, state, outputs = step(params, state)
    (seg, grad_src), (adv, d_tgt), grad_tgt, loss, (source_term, d_src), grad = outputs
    close([seg, adv, source_term, loss - source_term], case.losses[t])
    if t == 0:
      close(d_tgt, case.d_out_tgt, 1e-6)
      close(d_src, case.d_out_src, 1e-6)
      assert_close(grad_src, case.grad_src_logits, 1e-3)
      assert_close(grad_tgt, case.grad_tgt_logits, 1e-3)
      jax.tree.map(
        lambda a, b: assert_close(a, b, 1e-3), grad, discriminator_params(case, "gradD/")
      )
  after = discriminator_params(case, "D_after/")
  jax.tree.map(lambda a, b: assert_close(a, b, 0, atol=2e-5), params, after)
