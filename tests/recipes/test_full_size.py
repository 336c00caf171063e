"""Dry runs of all recipes at their full size: files of the true sizes, one batch, all steps by shapes alone.

Nothing is compiled. What is drawn is small: a few blocks of color, enlarged.
"""

import importlib.util
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
from reproduction_page import ROOT, ROWS

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, dry_run, experiment, recipes

pytestmark = pytest.mark.long
# (height, width) of the images as they are published.
SIZES = {
  "gta5": (1052, 1914),
  "synthia": (760, 1280),
  "synscapes": (1440, 2880),
  "cityscapes": (1024, 2048),
  "dark_zurich": (1080, 1920),
  "acdc": (1080, 1920),
  "bdd100k": (720, 1280),
  "nighttime_driving": (1080, 1920),
  "mapillary": (2448, 3264),
  "wilddash2": (1080, 1920),
}


SCAN = {"scan_blocks": True}
SHAPES = ("model", "method", "data", "batch_size", "compute_dtype", "eval")
VALUES = ("data.rare_class", "data.source.path", "data.target.path", "eval.targets")


def shapes_of(config):
  """What decides the shapes and the programs of a run; runs that share it are traced once."""
  fields = config_diff.flatten(config_diff.to_plain(config))
  return repr(
    sorted(
      (name, value)
      for name, value in fields.items()
      if name.startswith((*SHAPES, "stages")) and not name.startswith(VALUES)
    )
  )


def runs():
  """Each recipe with its arguments, where they change a shape."""
  combined = [f"{name}:" for name in recipes.names() if name.startswith("combinations/")]
  listed = [f"{row.recipe}:{row.arguments}" for row in ROWS]
  return list(
    {shapes_of(recipes.load(run)): run for run in [*combined, *reversed(listed)]}.values()
  )


RUNS = runs()
# Numbers in place of names: `-k` chooses tests by the names of methods.
NUMBERS = [f"run {number}" for number in range(len(RUNS))]


def enlarge(path, size):
  """Gives an image file another size, pixel by pixel; its palette and its 16 bits stay."""
  with PIL.Image.open(path) as image:
    if image.mode == "P":
      image.resize(size[::-1], PIL.Image.Resampling.NEAREST).save(path)
      return
  pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
  assert cv2.imwrite(str(path), cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """The folder of each data set, with files of the true sizes."""
  root = tmp_path_factory.mktemp("full_size")
  file = ROOT / "tests" / "data" / "datasets" / "miniatures.py"
  spec = importlib.util.spec_from_file_location("miniatures", file)
  miniatures = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(miniatures)
  for name, size in SIZES.items():
    getattr(miniatures, name)(root / name)
    for path in (root / name).rglob("*"):
      if path.suffix in (".png", ".jpg"):
        enlarge(path, size)
  return root


def stages_of(run, folders):
  """The configs of a run's trainings, on the drawn files."""
  recipe, _, text = run.partition(":")
  plain = recipes.load(recipe)
  places = [f"{domain}={folders / plain.data[domain].name}" for domain in ("source", "target")]
  unseen = ("nighttime_driving", "wilddash2", "mapillary", "bdd100k")
  typed = [part for part in text.split(",") if part and part.partition("=")[0] not in unseen]
  further = [*plain.data.sources[1:], *plain.data.targets[1:]]  # of several, each has an argument
  names = {*unseen, *(each["name"] for each in further)}
  typed = [part for part in typed if part.partition("=")[0] not in names]
  more = [f"{name}={folders / name}" for name in sorted(names)]
  config = recipes.load(
    f"{recipe}:{','.join([*typed, *places, *more])}", [("data.dir", str(folders / "prepared"))]
  )
  stages = config_lib.stage_configs(config) or {"": config}
  return {name: stage for name, stage in stages.items() if stage.task == "train"}


@pytest.mark.parametrize("run", RUNS, ids=NUMBERS)
def test_a_batch_and_all_steps_fit_at_full_size(run, folders, monkeypatch):
  one = mesh_lib.data_mesh(1)
  monkeypatch.setattr(mesh_lib, "data_mesh", lambda *_: one)
  for name, config in stages_of(run, folders).items():
    labels = bool(config.data.pseudo_labels)
    with config.unlocked():
      if config.model.encoder.startswith(("mit_", "dinov2_")):
        # The blocks of a stage are traced once.
        config.model.encoder_options = {**(config.model.get("encoder_options") or {}), **SCAN}
      config.data.pseudo_labels, config.init_from, config.init_weights = "", "", ""
    exp = experiment.build(config)
    batch = exp.training_batches()[0]
    size, crop = batch["source"]["image"].shape, tuple(config.data.crop_size)
    assert size == (config.batch_size, *crop, 3), (run, name)
    assert len(np.unique(batch["source"]["label"])) > 2, "a crop of nearly nothing"
    if labels:
      batch["target"]["label"] = np.zeros(batch["target"]["image"].shape[:3], np.uint8)
    dry_run.training(exp, mesh_lib.put_batch(one, batch))
    dry_run.evaluation(exp)
    print(f"{run} {name}: fits", file=sys.stderr)
