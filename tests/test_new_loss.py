"""The page on new losses: its two files are all that a new loss needs."""

import importlib
import pathlib
import re
import types

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from jax_uda import methods
from jax_uda.common import registry
from jax_uda.run import config as config_lib
from jax_uda.run import experiment, recipes
from jax_uda.step.method import Task

ROOT = pathlib.Path(__file__).parents[1]
FILES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "new_loss.md").read_text(), re.DOTALL)


@pytest.fixture
def files(tmp_path, monkeypatch):
  """The page's files in a folder of the user's."""
  for name, text in zip(("spread.py", "spread_demo.py"), FILES, strict=True):
    (tmp_path / name).write_text(text)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


def test_the_loss_of_the_page_joins_the_step(files):
  config = recipes.load(f"{files / 'spread_demo.py'}:method=spread,smoke").unlock()
  config.data.dir = str(files / "data")
  config.model.encoder_options = dict(widths=(8, 8, 16), depths=(1, 1))
  exp = experiment.build(config_lib.stage_config(config, "spread"))
  _, metrics = exp.learner.step(exp.initial_state(), exp.training_batches()[0])
  assert metrics["loss/spread"] == pytest.approx(0.1 * float(metrics["spread/cosine"]))
  assert 0 < metrics["spread/cosine"] <= 1


def test_the_loss_of_the_page_moves_the_student(files):
  task = Task(3)
  component = importlib.import_module("spread").spread
  term = component(task, methods.source_only(task)).terms["spread"]
  features = jax.random.normal(jax.random.key(0), (2, 2, 3, 8))

  def gradient(label):
    views = {"mixed": types.SimpleNamespace(label=label)}

    def loss(fused):
      student = lambda view: types.SimpleNamespace(fused=fused)
      return term.apply((), types.SimpleNamespace(views=views, student=student), None).loss

    return jax.grad(loss)(features)

  label = jnp.arange(12, dtype=jnp.int32).reshape(2, 2, 3) % 2
  assert jnp.abs(gradient(label)).max() > 1e-4
  assert not gradient(jnp.full_like(label, 255)).any()


def test_a_function_that_is_not_there_is_an_error_with_its_field():
  settings = ConfigDict({"name": "source_only", "also": {"mine": {"function": "nowhere:at_all"}}})
  message = r"^config.method.also.mine.function = 'nowhere:at_all'"
  with pytest.raises(ValueError, match=message), registry.within("config"):
    methods.build(Task(3), **settings)
