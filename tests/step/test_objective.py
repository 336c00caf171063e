"""Terms of a loss are added in order; their states and metrics keep the terms' names."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.step import objective
from jax_uda.step.objective import Objective, Result

pytestmark = pytest.mark.fast


def counting(value: float) -> Objective:
  """A term that counts its calls, and scales a value by its random number."""
  return Objective(
    init=lambda key: jnp.int32(0),
    apply=lambda state, ctx, draws: Result(value * draws, state + 1, {"scale": draws}),
    draw=lambda key, batch: jnp.float32(len(batch)),
  )


def test_terms_are_added_and_name_their_states_and_metrics():
  terms = {"b": counting(2.0), "a": counting(3.0)}
  states = objective.init_terms(terms, jax.random.key(0))
  draws = objective.draw_terms(terms, jax.random.key(0), {"source": {}, "target": {}})
  result = objective.add_terms(terms, states, cast(Any, SimpleNamespace()), draws)
  np.testing.assert_array_equal(result.loss, 10.0)
  assert result.state == {"b": 1, "a": 1}
  assert list(result.metrics) == ["loss/b", "b/scale", "loss/a", "a/scale"]
  np.testing.assert_array_equal(list(result.metrics.values()), [4.0, 2.0, 6.0, 2.0])


def test_each_term_has_a_key_of_its_own_for_its_state():
  term = counting(1.0)._replace(init=lambda key: jax.random.key_data(key))
  first, second = objective.init_terms({"a": term, "b": term}, jax.random.key(0)).values()
  assert (first != second).any()
