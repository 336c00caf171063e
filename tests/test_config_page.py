"""docs/config.md is the page that the code makes."""

import importlib.util
import pathlib

import pytest

FILE = pathlib.Path(__file__).parents[1] / "docs" / "config_fields.py"


@pytest.mark.fast
def test_the_page_of_fields_is_up_to_date():
  spec = importlib.util.spec_from_file_location("config_fields", FILE)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  assert module.PAGE.read_text("utf-8") == module.page(), "run `python docs/config_fields.py`"
