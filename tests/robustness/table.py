"""The table of inputs that people really have: each ends in its right value or in one sentence."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest


class Case(NamedTuple):
  """A kind of input, and how reading it has to end.

  Attributes:
    name: The input in a few words; the id of its test.
    read: Makes the input in an empty folder and returns what the library makes of it.
    value: The right result. It may be a function, which checks the result by its own assertions.
    sentence: Instead of a value: a regular expression that the error's message holds.
  """

  name: str
  read: Callable[[Any], Any]
  value: Any = None
  sentence: str = ""


def parametrize(*cases: Case) -> pytest.MarkDecorator:
  """Runs a test once per case; the test takes `case` and calls `check`."""
  return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def check_sentence(text: str) -> None:
  """Asserts that a message is one that a person can read in a terminal: one paragraph, nothing raw."""
  assert text.strip(), "the message is empty"
  assert "Traceback" not in text, text
  assert text.isprintable(), f"raw characters reach the terminal: {text!r}"
  assert len(text) < 1000, text


def check(case: Case, folder: Any) -> None:
  """Asserts that a case ends as it has to."""
  if case.sentence:
    with pytest.raises(ValueError) as caught:
      case.read(folder)
    check_sentence(str(caught.value))
    assert re.search(case.sentence, str(caught.value)), str(caught.value)
    return
  result = case.read(folder)
  if callable(case.value):
    case.value(result)
  else:
    np.testing.assert_array_equal(result, case.value)
