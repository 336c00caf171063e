"""Finds the classifier of a weight file that was trained for another number of classes."""

import re
from collections.abc import Mapping

Shape = tuple[int, ...]


def of_other_classes(file: Mapping[str, Shape], network: Mapping[str, Shape]) -> frozenset[str]:
  """Names of the tensors that belong to a classifier of another number of classes.

  These are all tensors that do not fit, if they are whole layers outside the encoder and differ from the
  network's in nothing but the number of outputs, which is one number in the file and one in the
  network; and further layers of the same list that the network does not have.

  Args:
    file: Shapes by reference name in our layout, with the outputs last.
    network: Shapes of the network that is filled, likewise.

  Returns:
    The names in the file; empty if all tensors fit, or if some misfit for another reason.
  """
  misfits = {name for name in file.keys() & network.keys() if file[name] != network[name]}
  layers = {name.rpartition(".")[0] for name in misfits}
  whole = {name for name in network if name.rpartition(".")[0] in layers} == misfits
  alike = all(file[name][:-1] == network[name][:-1] for name in misfits)
  if not misfits or not whole or not alike or any(n.startswith("backbone.") for n in misfits):
    return frozenset()
  outputs = {(file[name][-1:], network[name][-1:]) for name in misfits}
  if len(outputs) > 1:
    return frozenset()
  ((classes, _),) = outputs
  pattern = lambda name: re.sub(r"\d+", "#", name)
  patterns = {pattern(name) for name in misfits}
  further = {name for name in file.keys() - network.keys() if pattern(name) in patterns}
  return frozenset(misfits | {name for name in further if file[name][-1:] == classes})
