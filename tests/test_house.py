"""The house keeps to its plan: what may import what, what loads JAX, how long a function is."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast
ROOT = pathlib.Path(__file__).parents[1] / "jax_uda"
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}

# A folder imports folders to its left and itself. Of `step`, `models` know the outputs alone.
FLOORS = (
  {"common", "ops"},
  {"losses", "memory", "step", "data"},
  {"views", "objectives", "models"},
  {"methods"},
  {"run"},
  {"cli"},
)
MODELS_KNOW = ("common", "ops", "models", "step.outputs")

MAX_LINES, MAX_ARGUMENTS = 80, 12
# `module::function` -> why it may be longer or take more arguments.
LONG: dict[str, str] = {
  "methods/_confetii.py::confetii": "CONFETII's published settings, each documented",
  "methods/_translator.py::__init__": "the settings of three networks and their optimizers, and self",
  "objectives/_class_contrast.py::class_contrast": "SePiCo's published settings, each documented",
  "objectives/_region_consistency.py::region_consistency": "RCCR's published settings, each documented",
}

FORBIDDEN_NAMES = {"found", "own", "seen", "given", "made"}


@functools.cache
def tree(module: str) -> ast.Module:
  return ast.parse(MODULES[module].read_text())


def imports(module: str) -> set[str]:
  """The names `folder` or `folder.module` below `jax_uda` that the file imports anywhere in it."""
  names = set()
  for node in ast.walk(tree(module)):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{module}:{node.lineno}: write the import in full"
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return {name.removeprefix("jax_uda.") for name in names if name.startswith("jax_uda.")}


def functions(module: str) -> list[ast.FunctionDef]:
  return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef)]


def test_only_folders_are_at_the_root():
  files = {path.name for path in ROOT.iterdir() if path.is_file()}
  folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"__pycache__"}
  assert files <= {"__init__.py", "__main__.py", "py.typed"}
  assert folders <= set().union(*FLOORS, {"recipes"})


def test_a_folder_imports_only_folders_to_its_left():
  level = {folder: i for i, floor in enumerate(FLOORS) for folder in floor}
  wrong = []
  for module in MODULES:
    folder = module.split("/")[0]
    if folder not in level:
      continue  # the lazy namespace, and recipes
    for name in imports(module):
      other = name.split(".")[0]
      if (
        other != folder
        and level.get(other, -1) >= level[folder]
        or folder == "models"
        and not (name + ".").startswith(tuple(f"{m}." for m in MODELS_KNOW))
      ):
        wrong.append(f"{module} imports {name}")
  assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
  ("statement", "absent"),
  [
    # Worker processes import these to draw streets; JAX would start its threads in each.
    ("import jax_uda.data.datasets.drawing", "jax"),
    ("import jax_uda.data.streets", "jax"),
    ("import jax_uda.common.registry", "jax"),
    ("import jax_uda.common.files", "jax"),
    # Whoever needs a part does not wait for the rest.
    ("import jax_uda", "jax"),
    ("from jax_uda import objectives", "jax_uda.models"),
    ("from jax_uda import losses", "jax_uda.models"),
    ("from jax_uda.run.report.writer import MetricWriter", "jax_uda.models"),
  ],
)
def test_an_import_loads_no_more_than_it_needs(statement, absent):
  code = f"import sys; {statement}; sys.exit({absent!r} in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent).returncode == 0


def test_no_function_hides_its_module():
  hidden = []
  for module, path in MODULES.items():
    if path.name == "__init__.py":  # an exported name is not that of a module of the package
      package = ".".join(path.relative_to(ROOT.parent).parent.parts)
      siblings = {file.stem for file in path.parent.iterdir()}
      names = {
        alias.asname or alias.name
        for node in tree(module).body
        if isinstance(node, ast.ImportFrom) and node.module != package
        for alias in node.names
      }
      hidden += [f"{module}: {name}" for name in names & siblings]
    elif path.stem in {getattr(node, "name", None) for node in tree(module).body}:
      hidden.append(f"{module}: {path.stem}")
  assert not hidden


def test_functions_are_short_and_take_few_arguments():
  long = {}
  for module in MODULES:
    for node in functions(module):
      lines = node.end_lineno - node.lineno + 1
      a = node.args
      count = len(a.posonlyargs + a.args + a.kwonlyargs) + bool(a.vararg) + bool(a.kwarg)
      if lines > MAX_LINES or count > MAX_ARGUMENTS:
        long[f"{module}::{node.name}"] = f"{lines} lines, {count} arguments"
  too_long = [f"{name}: {size}" for name, size in long.items() if name not in LONG]
  assert not too_long, "\n".join(too_long)
  assert not LONG.keys() - long.keys(), "these are short now: take them from the table"


def test_the_voice():
  wrong = []
  for module, path in MODULES.items():
    for number, line in enumerate(path.read_text().splitlines(), 1):
      if "See there" in line or re.match(r'\s*(\w*"""|\*{0,2}\w+: )Of\b', line):
        wrong.append(f"{module}:{number}: {line.strip()}")
    names = (node for node in ast.walk(tree(module)) if isinstance(node, ast.Name))
    for name in names:
      if isinstance(name.ctx, ast.Store) and name.id in FORBIDDEN_NAMES:
        wrong.append(f"{module}:{name.lineno}: a variable called {name.id}")
  assert not wrong, "\n".join(wrong)
