"""What `jax_uda.run` offers to a notebook, and what its import costs."""

import subprocess
import sys

import pytest

from jax_uda import run

pytestmark = pytest.mark.fast


def modules_after(statement: str) -> set[str]:
  command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
  return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_every_public_name_is_there():
  for name in run.__all__:
    assert getattr(run, name).__name__ == name
  assert set(run.__all__) <= set(dir(run))
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    run.nothing  # noqa: B018


def test_the_namespace_imports_no_jax_and_the_writer_no_model():
  assert "jax" not in modules_after("import jax_uda.run")
  loaded = modules_after("from jax_uda.run.report.writer import MetricWriter")
  assert not any(name.startswith("jax_uda.models") for name in loaded)
