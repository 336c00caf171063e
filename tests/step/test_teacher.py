import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.step import teacher as ema

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/ema"))
def test_matches_reference(case: golden_cases.Case):
  update = jax.jit(lambda t, s, step: ema.update(t, s, step, float(case.alpha)))
  rates = jax.vmap(lambda step: ema.update_rate(step, float(case.alpha)))
  assert_close(1 - rates(jnp.asarray(case.schedule_iters)), case.schedule_alpha, 1e-5)
  teacher = {"a": jnp.full(case.student_a.shape[1:], 7.0), "b": jnp.float32(7)}
  history = []
  for step in range(len(case.student_a)):
    student = {"a": jnp.asarray(case.student_a[step]), "b": jnp.float32(case.student_b[step])}
    teacher = update(teacher, student, step)
    history.append(teacher)
  assert_close(jnp.stack([t["a"] for t in history]), case.teacher_a, 1e-5)
  assert_close(jnp.stack([t["b"] for t in history]), case.teacher_b, 1e-5)


def test_step_zero_copies_the_student_exactly():
  student = jnp.array([0.1, 1e-7, 3e8])
  assert (ema.update(jnp.full(3, 5.0), student, jnp.int32(0), 0.999) == student).all()


@pytest.mark.parametrize("case", golden("rccr/ema"))
def test_the_teacher_of_rccr_matches_reference(case: golden_cases.Case):
  close = lambda actual, expected: np.testing.assert_allclose(actual, expected, 1e-5, 1e-6)
  params = jnp.asarray(case.teacher0)
  for t, step in enumerate(case.iters):
    step = jnp.asarray(step)
    close(1 - ema.update_rate(step, float(case.alpha_max)), case.alpha[t])
    params = ema.update(params, jnp.asarray(case.student[t]), step, float(case.alpha_max))
    close(params, case.teacher[t])
