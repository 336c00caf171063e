"""The gradient term by term is the gradient at once, and needs less memory."""

import jax
import numpy as np
import pytest
import tiny

from jax_uda.step.learner import Learner

FIELDS = ("student", "teacher", "objective_state", "opt_state")


def by_groups(learner: Learner) -> Learner:
  """The same learner, group by group."""
  other = Learner.__new__(Learner)
  other.__dict__ |= learner.__dict__ | {"by_groups": True}
  return other


@pytest.mark.parametrize(
  "name",
  [
    "mic",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("daformer", "hrda_cluda", "rccr")),
  ],
)
def test_group_by_group_is_at_once(name, tiny_learner):
  joint = tiny_learner(name, 1)
  states = []
  for learner in (joint, by_groups(joint)):
    step = jax.jit(learner.pure_step(max(joint.method.phases)))
    state = joint.init(seed=0, image_size=tiny.SIZE)
    for index in range(2):
      state, metrics = step(state, tiny.batch_of(index))
    states.append((state, metrics))
  (one, metrics), (other, other_metrics) = states
  assert metrics.keys() == other_metrics.keys()
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  for field in FIELDS:
    jax.tree.map(close, getattr(one, field), getattr(other, field))


def test_terms_without_a_common_pass_are_groups(tiny_learner, monkeypatch):
  groups = []
  learner = by_groups(tiny_learner("mic", 1))
  from jax_uda.step import gradients

  take = gradients.Loss._of_terms
  monkeypatch.setattr(
    gradients.Loss,
    "_of_terms",
    lambda self, terms, *rest: groups.append(list(terms)) or take(self, terms, *rest),
  )
  state = learner.abstract_state(tiny.SIZE)
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny.batch_of(0))
  jax.eval_shape(learner.pure_step(0), state, shapes)
  assert groups == [["source", "feature_distance"], ["mixed"], ["masked"]]
