"""What the files `cluda/{single_cl,multires_cl,cl_grid}` record, checked alike for all of them.

The tolerances are those of tests/golden/cluda/README.md.
"""

import functools

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
from golden_cases import Case

ORDERS = ("aligned", "interleaved")
close_loss = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
close_map = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def assert_gradients_match(case: Case, loss, inputs, names, order: str) -> None:
  """Compares `loss(*inputs)` and its gradient with `loss_<order>` and `grad_<name>_<order>`."""
  argnums = tuple(range(len(inputs)))
  value, grads = jax.jit(jax.value_and_grad(loss, argnums))(*inputs)
  close_loss(value, case[f"loss_{order}"])
  for name, grad in zip(names, grads, strict=True):
    golden_cases.assert_close(grad, case[f"grad_{name}_{order}"], rtol=1e-4, atol=1e-8)


def pseudo_weight(case: Case) -> jax.Array | None:
  """The weights of the pseudo-labels, if the case has some."""
  return jnp.asarray(case.pseudo_weight) if case.has_pseudo_weight else None
