import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.ops.ramp import exponential_ramp
from jax_uda.step import optimizer, teacher

pytestmark = pytest.mark.fast

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", golden("rccr/schedules"))
def test_the_ramp_matches_reference_beside_the_other_schedules(case):
  num_steps = int(case.num_iterations)
  rate = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=num_steps, power=float(case.power)
  )
  close(jax.vmap(rate)(case.iters), case.lr)
  close(10 * jax.vmap(rate)(case.iters), case.lr_head)
  close(exponential_ramp(case.iters, num_steps), case.contrast_weight)
  close(1 - teacher.update_rate(jnp.asarray(case.iters), 0.99), case.ema_alpha)


def test_the_ramp_rises_to_its_weight_and_stays():
  ramp = exponential_ramp(jnp.arange(0, 121, 20), 100, weight=0.3, rate=2.0)
  assert (jnp.diff(ramp[:6]) > 0).all() and ramp[5] == ramp[6]
  np.testing.assert_allclose(ramp[0], 0.3 * np.exp(-2), rtol=1e-6)
  np.testing.assert_allclose(ramp[5], 0.3, rtol=1e-6)
