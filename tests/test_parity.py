"""Every kernel against the numbers of the reference implementations: one table, one test a file."""

from collections.abc import Callable

import golden_cases
import pytest
from parity import cluda, confeti, rccr, sepico, spcl

CHECKS: dict[str, Callable[[golden_cases.Case], None]] = {
  **sepico.CHECKS,
  **spcl.CHECKS,
  **cluda.CHECKS,
  **rccr.CHECKS,
  **confeti.CHECKS,
}


@pytest.mark.parametrize(
  ("kind", "case"),
  [
    pytest.param(kind, *param.values, id=param.id)
    for kind in CHECKS
    for param in golden_cases.golden(kind)
  ],
)
def test_matches_reference(kind: str, case: golden_cases.Case):
  CHECKS[kind](case)
