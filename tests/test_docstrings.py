"""Every example in a docstring of the kernels, and in their catalogue, prints what it says."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

import jax_uda.losses
import jax_uda.memory
import jax_uda.ops

MODULES = sorted(
  module.name
  for package in (jax_uda.losses, jax_uda.memory, jax_uda.ops)
  for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
  module = importlib.import_module(name)
  assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("package", [jax_uda.losses, jax_uda.memory], ids=lambda p: p.__name__)
def test_every_public_function_has_an_example(package):
  functions = dict(inspect.getmembers(package, inspect.isfunction))
  missing = [name for name, function in functions.items() if ">>>" not in (function.__doc__ or "")]
  assert not missing


def test_every_loss_has_a_row_and_an_example_of_one_name_in_the_catalogue():
  text = (pathlib.Path(__file__).parents[1] / "docs" / "losses.md").read_text()
  examples = "".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
  catalogue = text[: text.index("### An example of each")]
  rows = re.findall(r"^\| `(\w+)` \|.*\| (`[^|]*) \|", catalogue, re.MULTILINE)
  assert rows
  for name, functions in rows:
    (example,) = re.findall(rf">>> {name} = losses\.(\w+)", examples)
    assert example in functions
  kernels = {
    name
    for name, function in inspect.getmembers(jax_uda.losses, inspect.isfunction)
    if function.__module__.startswith("jax_uda.losses")
  }
  assert kernels == set(re.findall(r"`(\w+)", " ".join(functions for _, functions in rows)))
  test = doctest.DocTestParser().get_doctest(examples, {}, "losses.md", None, 0)
  assert doctest.DocTestRunner().run(test).failed == 0
