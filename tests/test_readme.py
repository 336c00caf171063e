"""The README's code runs."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from objectives.test_contract import apply, toy_variables, toy_views

from jax_uda.context import Context, Passes
from jax_uda.methods.base import Task

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_of_the_losses_alone_runs():
  (code,) = [example for example in EXAMPLES if "memory." in example]
  embeddings = jax.random.normal(jax.random.key(0), (1, 2, 3, 512))
  labels = jnp.array([[[0, 1, 2], [0, 255, 18]]])
  names = dict(embeddings=embeddings, teacher_embeddings=embeddings, labels=labels)
  exec("from jax_uda import losses, memory\n" + code, names)
  assert jnp.isfinite(names["loss"])


def test_the_example_in_the_page_on_losses_runs():
  text = (pathlib.Path(__file__).parents[1] / "docs" / "losses.md").read_text()
  (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  names = {}
  exec(code, names)
  assert jnp.isfinite(names["loss"]) and jnp.isfinite(names["grad"]).all()


def test_the_example_of_a_new_loss_runs_and_joins_a_method():
  (code,) = [example for example in EXAMPLES if "def " in example]
  names = {}
  exec(code, names)
  views = toy_views()

  def loss(params):
    ctx = Context(
      views=views,
      step=jnp.int32(0),
      key=jax.random.key(0),
      student=Passes(apply, {"params": params}),
      teacher=Passes(apply, toy_variables()),
    )
    method = names["dacs_with_entropy"](Task(4, (0.0,) * 3, (1.0,) * 3, ()), entropy_weight=0.5)
    result = method.objective.apply(method.objective.init(jax.random.key(0)), ctx)
    return result.loss, result.metrics

  (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(toy_variables()["params"])
  assert metrics["loss/entropy"] == pytest.approx(0.5 * metrics["entropy/entropy"])
  assert value == pytest.approx(metrics["loss/entropy"] + metrics["loss/dacs"])
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_linked_files_exist(path):
  assert (pathlib.Path(__file__).parents[1] / path).exists()
