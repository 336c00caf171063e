"""docs/reproduction.py as a module, and the rows of its page, read once per session."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("reproduction", ROOT / "docs" / "reproduction.py")
PAGE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PAGE)
ROWS = tuple(PAGE.rows())
