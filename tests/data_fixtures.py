"""A miniature CamVid and streets that are drawn in no time."""

import cv2
import numpy as np
import pytest
import quick_scenes

from jax_uda.data import streets

SEQUENCES = {
  "train": ("0001TP_1", "0001TP_2", "0006R0_1", "0016E5_1"),
  "val": ("0016E5_2", "0016E5_3"),
}


@pytest.fixture
def small_camvid(tmp_path):
  """A folder in SegNet's form: images 12x16, the label's columns 0..15 hold the ids 0..11."""
  root = tmp_path / "camvid"
  rng = np.random.default_rng(0)
  for split, stems in SEQUENCES.items():
    (root / split).mkdir(parents=True)
    (root / f"{split}annot").mkdir()
    for stem in stems:
      image = rng.integers(0, 256, (12, 16, 3), np.uint8)
      label = np.tile(np.arange(16, dtype=np.uint8) % 12, (12, 1))
      cv2.imwrite(str(root / split / f"{stem}.png"), image)
      cv2.imwrite(str(root / f"{split}annot" / f"{stem}.png"), label)
  return root


@pytest.fixture
def quick_streets(monkeypatch):
  """Replaces the drawing of scenes; returns the list of (domain, index) drawn."""
  drawn = []

  def draw_and_note(domain, seed, index, size):
    drawn.append((domain, index))
    return quick_scenes.draw(domain, seed, index, size)

  monkeypatch.setattr(streets, "draw", draw_and_note, raising=False)
  monkeypatch.setattr(streets, "DOMAINS", ("day", "dusk", "night"), raising=False)
  monkeypatch.setattr(streets, "VERSION", 7, raising=False)
  return drawn
