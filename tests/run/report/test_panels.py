import sys

import numpy as np
import PIL.Image
import pytest

from jax_uda.data import label_spaces
from jax_uda.run.report import drawing, panels

SPACE = label_spaces.CAMVID11


def columns(num_rows=2, value=90):
  """An image, a label and a weight a row."""
  rng = np.random.default_rng(0)
  return {
    "image": [np.full((24, 32, 3), value, np.uint8)] * num_rows,
    "label": list(rng.integers(0, 11, (num_rows, 24, 32)).astype(np.int32)),
    "weight": [np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)] * num_rows,
  }


def test_ignored_pixels_are_black_and_classes_have_their_colours():
  label = np.array([[0, 10, 255, 200]], np.int32)
  colors = panels.colorize(label, SPACE)
  np.testing.assert_array_equal(colors[0, :2], SPACE.palette[[0, 10]])
  assert colors.dtype == np.uint8 and not colors[0, 2:].any()


def test_the_page_grows_with_rows_and_columns_and_shows_pictures_enlarged(tmp_path):
  pytest.importorskip("matplotlib")
  sizes = []
  for num_rows, count in ((1, 3), (3, 3), (1, 2)):
    chosen = dict(list(columns(num_rows).items())[:count])
    panels.draw(tmp_path / "panels.png", chosen, SPACE, title="dacs, step 3")
    sizes.append(PIL.Image.open(tmp_path / "panels.png").size)
  (width, height), (width_3_rows, height_3_rows), (width_2_columns, _) = sizes
  cell = round(panels.CELL_WIDTH * drawing.DPI)
  assert width_3_rows == width and width - width_2_columns >= cell >= 2 * 128
  assert height_3_rows - height >= 2 * cell * 24 // 32


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("space", [SPACE, label_spaces.CITYSCAPES19], ids=lambda s: s.name)
def test_the_legend_is_on_the_page_and_covers_no_picture(count, space):
  pytest.importorskip("matplotlib")
  entries = panels._legend_entries(space, with_weights=True)
  figure, axes = panels._grid(2, count, 0.75, len(entries))
  panels._write_around(figure, "title", entries)
  figure.draw_without_rendering()
  legend = figure.legends[0].get_window_extent()
  assert len(figure.legends[0].get_texts()) == space.num_classes + 4
  assert legend.y0 >= 0 and legend.x1 <= figure.bbox.x1
  assert legend.y1 < min(axis.get_window_extent().y0 for axis in axes.flat)


def test_columns_of_different_length_are_an_error(tmp_path):
  uneven = columns(2) | {"short": columns(1)["image"]}
  with pytest.raises(ValueError, match="'short': 1"):
    panels.draw(tmp_path / "panels.png", uneven, SPACE)
  with pytest.raises(ValueError, match=r"row_names \(3\)"):
    panels.draw(tmp_path / "panels.png", columns(2), SPACE, row_names=("a", "b", "c"))
  with pytest.raises(ValueError, match="above 0"):
    panels.draw(tmp_path / "panels.png", {}, SPACE)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(ImportError, match=r"jax-uda\[viz\]"):
    panels.draw(tmp_path / "panels.png", columns(), SPACE)


def test_drawing_leaves_the_backend_of_pyplot_alone(tmp_path):
  matplotlib = pytest.importorskip("matplotlib")
  before = matplotlib.get_backend(auto_select=False)
  panels.draw(tmp_path / "panels.png", columns(), SPACE)
  assert matplotlib.get_backend(auto_select=False) == before
