import concurrent.futures
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from quick_scenes import draw

from jax_uda.data import streets
from jax_uda.data.datasets import base, drawing
from jax_uda.data.datasets import streets as builders_streets
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role

SMALL = dict(domain="day", size=(8, 12), num_train=3, num_val=2)


def make(tmp_path, **kwargs):
  return builders_streets.builder(tmp_path, Role.SOURCE, **SMALL | kwargs)


def test_prepared_examples_are_the_drawn_scenes(tmp_path, quick_streets):
  folder = base.prepare(make(tmp_path, seed=5))
  for split, first, number in (("train", 0, 3), ("val", 1_000_000, 2)):
    examples = Examples(folder, split, fields=("image", "label"))
    assert len(examples) == number
    for i, example in enumerate(examples):
      scene = draw("day", 5, first + i, (8, 12))
      np.testing.assert_array_equal(example["image"], scene.image)
      np.testing.assert_array_equal(example["label"], scene.label)


def test_scenes_are_drawn_once(tmp_path, quick_streets):
  base.prepare(make(tmp_path))
  assert len(quick_streets) == len(set(quick_streets)) == 5
  base.prepare(make(tmp_path))
  assert len(quick_streets) == 5


def test_processes_that_need_the_scenes_at_the_same_time_draw_them_once(tmp_path, quick_streets):
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    folders = {*pool.map(lambda _: base.prepare(make(tmp_path)), range(2))}
  folder = folders.pop()
  assert not folders and len(quick_streets) == 5
  assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_what_a_killed_process_has_drawn_is_removed(tmp_path, quick_streets):
  folder = pathlib.Path(make(tmp_path).data_path)
  unfinished = folder.with_name(f"incomplete.ABC123_{folder.name}")
  unfinished.mkdir(parents=True)
  assert base.prepare(make(tmp_path)) == folder
  assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_the_folder_depends_on_all_parameters_and_the_version(tmp_path, quick_streets, monkeypatch):
  changes = (
    {},
    {"domain": "dusk"},
    {"seed": 1},
    {"size": (12, 8)},
    {"num_train": 4},
    {"num_val": 3},
  )
  names = [str(make(tmp_path, **change).data_path) for change in changes]
  monkeypatch.setattr(streets, "VERSION", 8, raising=False)
  names.append(str(make(tmp_path).data_path))
  assert len(set(names)) == len(names)


def test_mistakes_in_the_config_are_explained(tmp_path, quick_streets):
  with pytest.raises(ValueError, match="^domain = 'dask'.*mean 'dusk'"):
    make(tmp_path, domain="dask")
  with pytest.raises(ValueError, match="^num_train = 0 .*between 1 and"):
    make(tmp_path, num_train=0)


def test_progress_is_shown_with_its_end(tmp_path, quick_streets, capfd):
  base.prepare(make(tmp_path))
  shown = capfd.readouterr()
  assert "3/3" in shown.err and "2/2" in shown.err and "day-8x12" in shown.err
  assert not shown.out


def test_drawing_processes_load_neither_jax_nor_tfds():
  code = "import sys, jax_uda.data.datasets.drawing; print(*sys.modules)"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert not {"jax", "flax", "tensorflow_datasets", "grain"} & set(run.stdout.split())


def test_processes_draw_the_same_scenes_as_this_one(monkeypatch):
  alone = list(drawing.draw("day", 1, range(3), (32, 48)))
  monkeypatch.setattr(drawing, "FEW_SCENES", 0)
  monkeypatch.setattr("os.cpu_count", lambda: 2)
  assert list(drawing.draw("day", 1, range(3), (32, 48))) == alone
