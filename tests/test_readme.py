"""The README's code runs."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_of_the_losses_alone_runs():
  (code,) = [example for example in EXAMPLES if "memory." in example and "def " not in example]
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


def test_the_new_loss_is_that_of_its_page_whose_files_are_tested():
  (code,) = [example for example in EXAMPLES if "def " in example]
  page = (pathlib.Path(__file__).parents[1] / "docs" / "new_loss.md").read_text()
  assert code.split("def ", 1)[1] in page


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_linked_files_exist(path):
  assert (pathlib.Path(__file__).parents[1] / path).exists()
