"""The drill of kills while something else than training is done: `pytest -m faults`. See `test_kills.py`."""

import cv2
import drill_page
import kills
import numpy as np
import pytest
from kills import Command, exists, said

pytestmark = pytest.mark.faults

RECIPE = "--config=tests/tiny_recipe.py:data_dir={data},method=source_only,steps=6"
TRAINED = Command("trained", kills.tiny(RECIPE))
IMAGES, PAIRS = 60, 600
COMMANDS = (
  Command(
    "preparing data from files",
    (
      "--mode=prepare",
      "--dataset=camvid",
      "--manual_dir={data}/camvid",
      "--data_dir={folder}/data",
    ),
    {
      "the first part is written": exists("data/**/*.partial"),
      "a part is finished": exists("data/**/*.partial/*.json"),
    },
    number_random=5,
  ),
  Command(
    "drawing data",
    (
      "--mode=prepare",
      RECIPE.replace("{data}", "{folder}/data"),
      "--config.data.source.num_train=40",
    ),
    {"the first is drawn": exists("data/streets/day-*")},
    number_random=4,
  ),
  Command(
    "evaluating",
    kills.tiny(RECIPE, "--mode=eval"),
    {"images are evaluated": said("evaluation of")},
    number_random=4,
    base="trained",
  ),
  Command(
    "predicting",
    kills.tiny(RECIPE, "--mode=predict", "--images={data}/images"),
    {"a prediction is written": exists("run/predictions/student/*.png")},
    number_random=4,
    base="trained",
  ),
  Command(
    "writing pseudo-labels",
    kills.tiny(RECIPE, "--mode=pseudo_label"),
    {
      "thresholds are written": exists("run/pseudo_labels/thresholds.json"),
      "a label is written": exists("run/pseudo_labels/labels/*.png"),
    },
    number_random=4,
    base="trained",
  ),
  Command(
    "exporting weights",
    kills.tiny(RECIPE, "--mode=export_weights"),
    {"one network is written": exists("run/student.safetensors")},
    number_random=4,
    base="trained",
  ),
)
KILLS = [kill for command in COMMANDS for kill in kills.of(command)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Where the commands run: with images to predict, and images with labels to prepare."""
  place = kills.Place(tmp_path_factory.mktemp("kills"), (TRAINED, *COMMANDS))
  rng = np.random.default_rng(0)
  for folder in ("images", "camvid/train", "camvid/trainannot", "camvid/val", "camvid/valannot"):
    (place.data / folder).mkdir(parents=True)
  for number in range(IMAGES):
    image = rng.integers(0, 256, (32, 48, 3), np.uint8)
    cv2.imwrite(str(place.data / "images" / f"{number}.png"), image)
  for number in range(PAIRS):
    split = "train" if number % 10 else "val"
    image = rng.integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(place.data / "camvid" / split / f"{number}.png"), image)
    cv2.imwrite(str(place.data / "camvid" / f"{split}annot" / f"{number}.png"), image[..., 0] % 12)
  return place


@pytest.fixture(scope="module")
def counts(request):
  """The ends of all kills, which go into the page at the end."""
  counts = drill_page.Counts(request.config.cache)
  yield counts
  counts.write(KILLS)


@pytest.mark.parametrize("kill", kills.params(KILLS))
def test_the_same_command_finishes_what_was_killed(kill, place, counts):
  counts.drill(kill, place)
