"""The README's notebook: a learner in eight lines."""

import itertools
import pathlib
import re

import numpy as np
import pytest

import jax_uda as uda
from jax_uda.common import mesh as mesh_lib

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
(CODE,) = (
  code for code in re.findall(r"```python\n(.*?)```", README, re.S) if "uda.Learner" in code
)
SIZE = (64, 64)


def images(number: int, *, labelled: bool) -> list[dict[str, np.ndarray]]:
  rng = np.random.default_rng(number)
  one = lambda: (
    {"image": rng.integers(0, 256, (*SIZE, 3), np.uint8)}
    | ({"label": rng.integers(0, 19, SIZE, np.uint8)} if labelled else {})
  )
  return [one() for _ in range(number)]


def test_eight_lines_train_a_network_and_evaluate_it(monkeypatch, capsys):
  # Printed are the published sizes and an endless loop on all devices; here it is a step of a small crop.
  one_device = mesh_lib.data_mesh(1)
  monkeypatch.setattr(mesh_lib, "data_mesh", lambda *_: one_device)
  batches = uda.data.batches
  monkeypatch.setattr(uda.data, "batches", lambda *a, **k: itertools.islice(batches(*a, **k), 1))
  names = dict(
    source=images(3, labelled=True),
    target=images(3, labelled=False),
    target_val=images(1, labelled=True),
  )
  exec(CODE.replace("(512, 512)", str(SIZE)), names)
  assert np.isfinite(names["metrics"]["loss"]) and names["state"].step == 1
  assert 0 <= float(capsys.readouterr().out) <= 100


@pytest.mark.parametrize("name", uda.__all__)
def test_every_name_of_the_namespace_is_there(name):
  assert getattr(uda, name) is not None
