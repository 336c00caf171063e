"""The data sets of a config: one source or several, one target or several, and those for evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda.data.datasets import catalog
from jax_uda.data.roles import Role

DOMAINS = {"source": Role.SOURCE, "target": Role.TARGET}
Described = tuple[tuple[str, ...], Mapping[str, Any], Role]


def sets_of(data: Mapping[str, Any], domain: str) -> Sequence[Mapping[str, Any]]:
  """The descriptions of a domain's data sets: those of the list or, without one, the single one."""
  return tuple(data.get(f"{domain}s", ())) or (data[domain],)


def described(data: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]]) -> list[Described]:
  """All data sets of a config: the path of the field, the description, the role.

  Args:
    data: The config group `data`.
    targets: The group `eval.targets`.
  """
  result: list[Described] = []
  for domain, role in DOMAINS.items():
    for number, spec in enumerate(sets_of(data, domain)):
      path = (f"{domain}s", str(number)) if number else (domain,)
      result.append((("data", *path), spec, role))
  further = evaluated_targets(data, targets)
  for name, spec in further.items():
    result.append((("eval", "targets", name), spec, Role.EVALUATION))
  return result


def evaluated_targets(
  data: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
  """The further validation sets by name: those of `eval.targets`, and of all targets but the first."""
  further = {}
  for spec in sets_of(data, "target")[1:]:
    name = str(spec.get("name", ""))
    if name not in (*targets, *further, *catalog.RESERVED_NAMES):
      further[name] = {key: value for key, value in spec.items() if key != "share"}
  return {**targets, **further}
