"""The code on the pages runs, and the files that they name exist."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

pytestmark = pytest.mark.fast
ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_examples_in_the_page_on_losses_run():
  text = (ROOT / "docs" / "losses.md").read_text()
  alone, example = sorted(re.findall(r"```python\n(.*?)```", text, re.DOTALL), key=len)
  embeddings = jax.random.normal(jax.random.key(0), (1, 2, 3, 512))
  labels = jnp.array([[[0, 1, 2], [0, 255, 18]]])
  names = dict(embeddings=embeddings, teacher_embeddings=embeddings, labels=labels)
  exec("from jax_uda import losses, memory\n" + alone, names)
  assert jnp.isfinite(names["loss"])
  names = {}
  exec(example, names)
  assert jnp.isfinite(names["loss"]) and jnp.isfinite(names["grad"]).all()


def test_the_readme_is_short():
  assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
  links = re.findall(r"\]\(((?!http)[^)#]+)[^)]*\)", page.read_text())
  assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_and_folders_that_a_page_names_exist(page):
  names = re.findall(r"`([\w./]+/[\w./]*)`", (ROOT / page).read_text())
  places = (ROOT, ROOT / "jax_uda", ROOT / "jax_uda" / "data", ROOT / "jax_uda" / "run")
  assert not [name for name in names if not any((place / name).exists() for place in places)]
