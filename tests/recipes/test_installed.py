"""The recipes are installed with the package: by name, from any folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from jax_uda.run import recipes

ROOT = pathlib.Path(__file__).parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
  "wheel"
]

# What a user of the installed package does.
PROGRAM = """
import sys
import jax_uda
from jax_uda.run import recipes
print(jax_uda.__file__)
print(*recipes.names())
print(recipes.load("gta_to_cityscapes/sepico:seed=3").method.name)
print(recipes.load("configs/demo.py:method=mic").method.name)
from jax_uda.recipes import camvid
print(camvid.__file__, "jax" in sys.modules)
"""


def check(site: pathlib.Path, folder: pathlib.Path) -> None:
  """The program, run in `folder` with the package of `site`."""
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    cwd=folder,
    env=os.environ | {"PYTHONPATH": str(site)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert not done.returncode, done.stderr
  package, names, published, demo, shared = done.stdout.splitlines()
  assert package == str(site / "jax_uda" / "__init__.py")
  assert names.split() == recipes.names()
  assert (published, demo) == ("sepico", "source_only")
  assert shared == f"{site / 'jax_uda' / 'recipes' / 'camvid.py'} False"


@pytest.mark.fast
def test_the_layout_of_the_wheel_serves_recipes_from_any_folder(tmp_path):
  only_python = shutil.ignore_patterns("__pycache__")
  site, folder = tmp_path / "site", tmp_path / "elsewhere"
  folder.mkdir()
  for package in WHEEL["packages"]:
    shutil.copytree(ROOT / package, site / package, ignore=only_python)
  for source, target in WHEEL["force-include"].items():
    shutil.copytree(ROOT / source, site / target, ignore=only_python)
  check(site, folder)


@pytest.mark.long
def test_the_wheel_serves_recipes_from_any_folder(tmp_path):
  command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300)
  if done.returncode and "hatchling" in done.stderr:
    pytest.skip("pip cannot get hatchling, which builds the wheel")
  assert not done.returncode, done.stderr
  (wheel,) = tmp_path.glob("*.whl")
  with zipfile.ZipFile(wheel) as archive:
    assert not [name for name in archive.namelist() if name.startswith(("configs", "tests"))]
    archive.extractall(tmp_path / "site")
  check(tmp_path / "site", tmp_path)
