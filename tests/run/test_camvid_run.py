"""CamVid by day -> dusk from the photographs to the scores, without any label of the target's training."""

import importlib
import json
import pathlib

import pytest

from jax_uda.run import stages


@pytest.fixture
def folder(camvid_dir, tmp_path):
  """Links to some photographs; the dusk of `train` has no labels, other dusk frames are `test`."""
  files = sorted((camvid_dir / "train").iterdir())
  drive = lambda name: [file.name for file in files if file.name.startswith(name)]
  dusk = drive("0001TP")
  parts = {
    "train": (*drive("0006R0")[:8], *drive("0016E5")[:8], *dusk[:16]),
    "val": drive("0016E5")[20:24],
    "test": dusk[40:44],
  }
  for split, names in parts.items():
    for kind in ("", "annot"):
      (tmp_path / "photographs" / f"{split}{kind}").mkdir(parents=True)
    for name in names:
      for kind in ("",) if split == "train" and name in dusk else ("", "annot"):
        ending = ".png" if kind else pathlib.Path(name).suffix
        file = pathlib.Path(f"train{kind}", name).with_suffix(ending)
        link = tmp_path / "photographs" / f"{split}{kind}" / file.name
        link.symlink_to(camvid_dir / file)
  return tmp_path / "photographs"


def test_it_runs_to_its_scores_without_labels_of_the_target(folder, tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2])
  recipes = importlib.import_module("configs.camvid_day_to_dusk")
  config = recipes.get_config(f"path={folder},method=dacs,smoke")
  config.init_weights = ""  # a small network instead of the recipe's, which compiles for a minute
  config.model = dict(
    encoder="compact", decoder="light", encoder_options=dict(widths=(8, 8, 16), depths=(1, 1))
  )
  config.optimizer.groups = ()
  config.data.dir = str(tmp_path / "data")
  config.projection = ""
  stages.train(config, tmp_path / "run")
  found = json.loads((tmp_path / "run" / "dacs" / "results.json").read_text())
  assert found["target"]["teacher"]["miou"] > 0
