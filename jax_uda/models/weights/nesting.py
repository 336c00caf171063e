"""Finds the weights in what was pickled: under one of the customary names, or under several."""

from collections.abc import Iterator, Mapping
from typing import Any

from jax_uda.models.weights.pickle_data import Global, Record
from jax_uda.models.weights.torch_records import Array, Tensor, mapping_of, tensor_of

Weights = dict[str, Tensor | Array]

# Customary names of the weights of the network that was trained, and of its moving average. They may
# lie in each other, as in {"model": {"state_dict": …}}.
STUDENT = (
  "state_dict",
  "model_state_dict",
  "model",
  "student",
  "net",
  "network",
  "module",
  "weights",
)
TEACHER = ("teacher", "ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict")


def find_weights(content: Any) -> Weights:
  """Returns the tensors by name. What is not a tensor is left out.

  If there are a student and a teacher, each under a name of its own, their tensors begin with
  `model.` and `ema_model.`, as in the files of DAFormer and its successors.

  Raises:
    ValueError: There are no tensors, or a tensor is of a kind that cannot be read.
  """
  weights = _search(content, {})
  if not weights:
    raise ValueError(_what_instead(content))
  return weights


def _search(content: Any, done: dict[int, Weights]) -> Weights:
  """The weights in a mapping or below it; empty if there are none.

  Args:
    content: Anything that was pickled.
    done: The results by the identity of the mapping, since a mapping may lie in many others, or in itself.
  """
  mapping = mapping_of(content)
  if mapping is None:
    return {}
  if id(mapping) not in done:
    done[id(mapping)] = {}
    done[id(mapping)] = _customary(mapping, done) or dict(_tensors(mapping)) or _only(mapping)
  return done[id(mapping)]


def _customary(mapping: Mapping[Any, Any], done: dict[int, Weights]) -> Weights:
  """The weights under the customary names."""
  first = lambda names: next(filter(None, (_search(mapping.get(name), done) for name in names)), {})
  student, teacher = first(STUDENT), first(TEACHER)
  if not student or not teacher:
    return student or teacher
  whole = {f"model.{name}": tensor for name, tensor in student.items()}
  return whole | {f"ema_model.{name}": tensor for name, tensor in teacher.items()}


def _only(mapping: Mapping[Any, Any]) -> Weights:
  """The weights under a name that is not customary, if there are any under one name alone."""
  others = {name: dict(_tensors(mapping_of(value) or {})) for name, value in mapping.items()}
  others = {name: weights for name, weights in others.items() if weights}
  if len(others) > 1:
    names = ", ".join(ascii(name)[:80] for name in list(others)[:10])
    raise ValueError(f"it holds tensors under several names, {names}; save one of them alone")
  return next(iter(others.values()), {})


def _tensors(mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor | Array]]:
  for name, value in mapping.items():
    if isinstance(name, str) and (tensor := tensor_of(value)) is not None:
      yield name, tensor


def _what_instead(content: Any) -> str:
  """What a file without weights holds instead, for its user."""
  if isinstance(content, Record):
    return (
      f"its pickle asks for {content.maker if isinstance(content.maker, Global) else 'an object'} and is no "
      "mapping from names to tensors; load it with PyTorch, where its code is, and save its state_dict()"
    )
  mapping = mapping_of(content) or {}
  objects = [value.maker for value in mapping.values() if isinstance(value, Record)]
  objects = [str(maker) for maker in objects if isinstance(maker, Global)]
  names = ", ".join(ascii(name)[:80] for name in list(mapping)[:10] if isinstance(name, str))
  return (
    "it holds no mapping from names to tensors, neither by itself nor under 'state_dict' or 'model' or one "
    f"of the other usual names{f'; it has {names}' if names else ''}"
    f"{f', and asks for {objects[0]}, which is no tensor' if objects else ''}"
  )
