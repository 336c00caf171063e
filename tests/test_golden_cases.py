"""No golden file is forgotten."""

import os
import pathlib

import golden_cases
import pytest


@pytest.mark.parametrize("path", golden_cases.files(), ids=golden_cases.name_of)
def test_every_golden_file_is_claimed_or_listed_as_not_yet(path):
  name = golden_cases.name_of(path)
  assert golden_cases.kind_of(name), (
    f"no test claims {name}: add its kind to CLAIMED or NOT_YET in tests/golden_cases.py"
  )


@pytest.mark.skipif("JAX_UDA_GOLDEN" in os.environ, reason="another folder may hold fewer kinds")
@pytest.mark.parametrize("kind", golden_cases.CLAIMED)
def test_every_claimed_kind_has_a_file(kind):
  assert golden_cases.golden(kind)


@pytest.mark.parametrize(
  ("kind", "module"),
  golden_cases.CLAIMED.items(),
)
def test_a_claimed_kind_is_used_by_its_test_module(kind, module):
  text = (pathlib.Path(__file__).parent / module).read_text()
  assert f'golden("{kind}")' in text
