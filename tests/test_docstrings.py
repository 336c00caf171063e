"""Every example in a docstring of the kernels runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import jax_uda.losses
import jax_uda.memory

MODULES = sorted(
  module.name
  for package in (jax_uda.losses, jax_uda.memory)
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
