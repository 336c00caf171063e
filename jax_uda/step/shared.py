"""Variables that student, teacher and reference share because nothing trains them.

With a frozen encoder, the trees of student and teacher hold what trains alone, and `TrainState.reference`
holds the rest, once. A network is applied to both together.
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from jax_uda.common.adapter_paths import is_adapter
from jax_uda.step.outputs import Network

Variables = dict[str, Any]

# The collection of `TrainState.reference` with the variables of a foundation model (`Method.foundation`).
FOUNDATION = "foundation"


def split(variables: Mapping[str, Any], freeze: str) -> tuple[Variables, Variables]:
  """Splits a network's variables into those that train and those that are shared.

  Args:
    variables: Collections of nested dicts.
    freeze: The part of the network that is frozen, without its adapters; empty: none is.
  """
  if not freeze:
    return dict(variables), {}
  trained, shared = {}, {}
  for path, value in traverse_util.flatten_dict(dict(variables)).items():
    frozen = path[1] == freeze and not is_adapter("/".join(path[1:]))
    (shared if frozen else trained)[path] = value
  return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(shared)


def merge(shared: Mapping[str, Any] | None, trained: Mapping[str, Any]) -> Variables:
  """All variables of a network; what is in both trees is that of `trained`."""
  merged = dict(shared or {})
  for name, value in trained.items():
    inner = merged.get(name)
    merged[name] = merge(inner, value) if isinstance(inner, Mapping) else value
  return merged


def of_networks(reference: Mapping[str, Any] | None) -> Variables:
  """What of `TrainState.reference` belongs to student and teacher: all but a foundation model."""
  return {name: tree for name, tree in (reference or {}).items() if name != FOUNDATION}


def has_shared(shared: Mapping[str, Any] | None, trained: Mapping[str, Any]) -> bool:
  """Whether `shared` holds variables that `trained` lacks, as those of a frozen encoder."""
  flat = traverse_util.flatten_dict
  return bool(shared) and bool(flat(dict(shared)).keys() - flat(dict(trained)).keys())


def _restrict(tree: Mapping[str, Any], like: Mapping[str, Any]) -> Variables:
  """The entries of `tree` that `like` has."""
  inner = lambda name: isinstance(like[name], Mapping)
  return {
    name: _restrict(value, like[name]) if inner(name) else value
    for name, value in tree.items()
    if name in like
  }


class SharingNetwork:
  """A network whose `apply` takes the variables that train, and returns no others."""

  def __init__(self, model: Network, shared: Mapping[str, Any]):
    """Takes the network and the variables that it shares with others."""
    self._model, self._shared = model, shared

  def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """`model.apply` with the shared variables beside `variables`."""
    result = self._model.apply(merge(self._shared, variables), *args, **kwargs)
    if not kwargs.get("mutable"):
      return result
    outputs, updated = result
    return outputs, _restrict(updated, variables)


def sharing(model: Network, shared: Mapping[str, Any] | None) -> Any:
  """The network as a step applies it: `model` itself if it freezes nothing."""
  return SharingNetwork(model, shared or {}) if getattr(model, "freeze", "") else model
