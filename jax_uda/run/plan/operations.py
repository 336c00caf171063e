"""How many multiplications and additions a traced function makes."""

import math
from typing import Any

import jax
from jax.extend import core


def count(jaxpr: Any) -> int:
  """Floating-point operations of the matrix products and convolutions in a jaxpr.

  Bodies of scans count as often as they run, the more expensive branch of a condition once, and the body
  of a loop without a known number of rounds once. Everything element by element is left out.

  Args:
    jaxpr: A closed or an open jaxpr, of the global batch.

  >>> import jax.numpy as jnp
  >>> count(jax.make_jaxpr(lambda x: x @ x)(jnp.ones((2, 2))))
  16
  """
  jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval.shape
    out_channels = kernel[params["dimension_numbers"].rhs_spec[0]]
    return 2 * equation.outvars[0].aval.size * math.prod(kernel) // out_channels
  inner = [count(jaxpr) for jaxpr in _jaxprs(params)]
  if not inner:
    return 0
  if name == "scan":
    return params["length"] * sum(inner)
  return max(inner) if name == "cond" else sum(inner)


def _jaxprs(params: dict[str, Any]) -> list[Any]:
  leaves = jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr)
  return [leaf for leaf in leaves if _is_jaxpr(leaf)]


def _is_jaxpr(value: Any) -> bool:
  return isinstance(value, core.ClosedJaxpr | core.Jaxpr)
