"""No golden file is forgotten, and none is compared twice by different rules."""

import os
import pathlib

import golden_cases
import pytest

pytestmark = pytest.mark.fast
OTHER_FOLDER = "JAX_UDA_GOLDEN" in os.environ
MODULES = {path for path in pathlib.Path(__file__).parent.rglob("test_*.py")}


@pytest.fixture(autouse=True)
def everything_is_collected(collected_modules):
  if missing := MODULES - collected_modules:
    pytest.skip(f"{len(missing)} test modules were not collected, so nothing is known of theirs")


def test_every_file_is_served_to_a_test():
  left = [
    name
    for name in map(golden_cases.name_of, golden_cases.files())
    if name not in golden_cases.SERVED
  ]
  if left and OTHER_FOLDER:
    pytest.skip(f"of kinds that no test asks for: {', '.join(left)}")
  assert not left, "no test asks for these files: call golden_cases.golden with their kind"


@pytest.mark.skipif(OTHER_FOLDER, reason="another folder may hold fewer kinds")
def test_every_kind_that_a_test_asks_for_has_a_file():
  served = set().union(*golden_cases.SERVED.values())
  empty = {kind: modules for kind, modules in golden_cases.ASKED.items() if kind not in served}
  assert not empty


def test_no_file_is_of_two_kinds():
  ambiguous = {name: kinds for name, kinds in golden_cases.SERVED.items() if len(kinds) > 1}
  assert not ambiguous, "name the longer kind in `but_not` of the shorter one"
