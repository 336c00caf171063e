"""Numbers computed by the reference implementations, as pytest parameters.

`JAX_UDA_GOLDEN` names another folder of the same schema; the default is
`tests/golden`. A kind is the beginning of the names `<method>/<file>` that a
test asks for.
"""

import dataclasses
import functools
import gzip
import json
import os
import pathlib
import re
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(os.environ.get("JAX_UDA_GOLDEN", pathlib.Path(__file__).parent / "golden"))

# What the test modules asked for while they were collected: kind -> names of the modules.
ASKED: dict[str, set[str]] = {}
# Name of a golden file -> the kinds under which tests got it.
SERVED: dict[str, set[str]] = {}


@dataclasses.dataclass(frozen=True)
class Case:
  """One golden file; arrays are attributes or items, sub-cases `c0_…` come from `parts`."""

  name: str
  arrays: dict[str, np.ndarray]

  def __getitem__(self, key: str) -> np.ndarray:
    """Returns the array stored under `key`."""
    return self.arrays[key]

  def __getattr__(self, key: str) -> np.ndarray:
    """Returns the array stored under `key`."""
    try:
      return self.arrays[key]
    except KeyError:
      raise AttributeError(f"{self.name} holds no array {key!r}") from None

  def __contains__(self, key: str) -> bool:
    """Whether the file holds `key`."""
    return key in self.arrays

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """All arrays whose name starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

  def parts(self, letter: str = "c") -> list["Case"]:
    """The sub-cases `<letter>0_…`, `<letter>1_…`; arrays without a number belong to all."""
    numbered = re.compile(rf"{letter}(\d+)_(.*)", re.DOTALL)
    common, parts = {}, {}
    for key, value in self.arrays.items():
      match = numbered.fullmatch(key)
      if match:
        parts.setdefault(int(match[1]), {})[match[2]] = value
      else:
        common[key] = value
    return [Case(f"{self.name}#{letter}{i}", {**common, **parts[i]}) for i in sorted(parts)]


@functools.cache
def load(path: pathlib.Path) -> Case | dict:
  """Reads one golden file: `.npz` as a Case, `.json.gz` as plain data."""
  if path.suffix == ".gz":
    return json.loads(gzip.decompress(path.read_bytes()))
  with np.load(path) as arrays:
    return Case(name_of(path), dict(arrays))


def name_of(path: pathlib.Path) -> str:
  """`<method>/<file name without endings>`."""
  return f"{path.parent.name}/{path.name.split('.')[0]}"


def files() -> list[pathlib.Path]:
  """Every golden file below ROOT."""
  return sorted([*ROOT.glob("*/*.npz"), *ROOT.glob("*/*.json.gz")])


def golden(kind: str, *, but_not: tuple[str, ...] = ()) -> list:
  """Pytest parameters of all files of one kind; the ids are `golden[<method>/<file>]`.

  Remembers what it served; `tests/test_golden_cases.py` compares that with the folder.

  Args:
    kind: The files are those whose names begin with it.
    but_not: Longer kinds that begin with `kind` too, and that other tests ask for.
  """
  assert files(), f"no golden files in {ROOT}: JAX_UDA_GOLDEN must hold folders such as base/"
  ASKED.setdefault(kind, set()).add(sys._getframe(1).f_globals["__name__"])
  paths = {name_of(path): path for path in files()}
  names = [name for name in paths if name.startswith(kind) and not name.startswith(but_not)]
  for name in names:
    SERVED.setdefault(name, set()).add(kind)
  return [pytest.param(load(paths[name]), id=f"golden[{name}]") for name in names]


def assert_close(actual, expected, rtol: float, atol: float = 0.0) -> None:
  """|actual - expected| <= rtol * max|expected| + atol, as the golden README defines it."""
  actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
  bound = rtol * np.max(np.abs(expected), initial=0.0) + atol
  error = np.max(np.abs(actual - expected), initial=0.0)
  assert error <= bound, f"largest error {error:.3g} exceeds {bound:.3g}"
