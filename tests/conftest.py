"""Eight simulated devices, quick compiling and a compilation cache, set before JAX is imported."""

import os
import pathlib
import re
import tempfile

# Without optimization, as compiling is most of the tests' time.
os.environ["XLA_FLAGS"] = " ".join(
  (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
    os.environ.get("XLA_FLAGS", ""),
  )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import pytest  # noqa: E402
from data_fixtures import quick_streets as quick_streets  # noqa: E402
from data_fixtures import small_camvid as small_camvid  # noqa: E402

CACHE = pathlib.Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", tempfile.gettempdir()))
jax.config.update("jax_compilation_cache_dir", str(CACHE / "jax_uda_test_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


COLLECTED: set[pathlib.Path] = set()


def pytest_collectstart(collector: pytest.Collector) -> None:
  """Remembers the test modules that this process collects."""
  if isinstance(collector, pytest.Module):
    COLLECTED.add(collector.path)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Marks the tests of whole training steps, which are known by their files' names."""
  for item in items:
    if re.search(r"golden\[\w+/\w*step", item.name):
      item.add_marker("step_golden")


@pytest.fixture(scope="session")
def collected_modules() -> set[pathlib.Path]:
  """The files of all test modules that were collected, also those without a selected test."""
  return COLLECTED


@pytest.fixture(scope="session")
def camvid_dir() -> pathlib.Path:
  """The CamVid photographs (research licence, not in this repository); skips without them."""
  default = pathlib.Path(__file__).parents[2] / "shared" / "camvid"
  folder = pathlib.Path(os.environ.get("JAX_UDA_CAMVID", default))
  if not (folder / "train").is_dir():
    pytest.skip(f"no CamVid photographs in {folder}; set JAX_UDA_CAMVID to their folder")
  return folder


@pytest.fixture(scope="session")
def tiny_learner():
  """`tiny.learner`: a learner for a method by name, whose steps are compiled once per session."""
  import tiny  # after the settings above

  return tiny.learner
