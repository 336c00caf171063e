"""Label files as people have them: the ids that they store, or one sentence that names the cause."""

import numpy as np
import PIL.Image
import pytest
import tifffile
from robustness.one_of_each import exif, picture, save, tiff_of_4_bits
from robustness.table import Case, check, parametrize

from jax_uda.data.datasets import folder_pairs, label_coding
from jax_uda.data.datasets.pairs import Pair

pytestmark = pytest.mark.fast

IDS = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6) % 5
COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)], np.uint8)
MINUS = IDS.astype(np.int16)
MINUS[0] = -1
IGNORED = IDS.copy()
IGNORED[0] = 255


def ids(array, name="a.png", label_ids=range(5), ignore_ids=(255,), **settings):
  """Writes an array and reads its train ids."""

  def read(folder):
    file = save(folder / name, array, **settings)
    return label_coding.by_ids(tuple(label_ids), ignore_ids).train_ids(file)

  return read


def pillow(image, name="a.png", **settings):
  """As `ids`, of an image of Pillow."""

  def read(folder):
    image.save(folder / name, **settings)
    return label_coding.by_ids(tuple(range(5)), (255,)).train_ids(folder / name)

  return read


def palette(index=IDS):
  image = PIL.Image.fromarray(index, "P")
  image.putpalette(COLORS.tobytes())
  return image


def colors(name="a.png", **settings):
  """Reads colors that stand for classes."""

  def read(folder):
    file = save(folder / name, COLORS[IDS], **settings)
    return label_coding.by_colors(tuple(map(tuple, COLORS.tolist())), ()).train_ids(file)

  return read


def _of_4_bits(folder):
  (folder / "a.tif").write_bytes(tiff_of_4_bits(IDS))
  return label_coding.by_ids(tuple(range(5)), ()).train_ids(folder / "a.tif")


FAR = IDS.astype(np.int32) * 100_000 - 70_000  # -70000, 30000, 130000, …

CASES = (
  Case("grey PNG", ids(IDS), IDS),
  Case("palette PNG", pillow(palette()), IDS),
  Case("palette GIF", pillow(palette(), "a.gif"), IDS),
  Case("palette BMP", pillow(palette(), "a.bmp"), IDS),
  Case("PNG of one bit", pillow(PIL.Image.fromarray(IDS > 2)), IDS > 2),
  Case("PNG of 16 bits", ids(IDS.astype(np.uint16) * 300, label_ids=range(0, 1500, 300)), IDS),
  Case("PNG of grey and alpha", ids(np.dstack([IDS, IDS * 0 + 255])), IDS),
  Case("TIFF", ids(IDS, "a.tif"), IDS),
  Case("TIFF called PNG", pillow(PIL.Image.fromarray(IDS), "a.png", format="TIFF"), IDS),
  Case("TIFF of one bit", ids(IDS > 2, "a.tif"), IDS > 2),
  Case("TIFF of 4 bits", _of_4_bits, IDS),
  Case("TIFF of 16 bits, big-endian", ids(IDS.astype(np.uint16), "a.tif", byteorder=">"), IDS),
  Case("TIFF of 32 bits", ids(IDS.astype(np.uint32), "a.tif"), IDS),
  Case("TIFF of 64 bits", ids(IDS.astype(np.int64), "a.tif"), IDS),
  Case("TIFF of float32", ids(IDS.astype(np.float32), "a.tif"), IDS),
  Case("TIFF of float64, big-endian", ids(IDS.astype(np.float64), "a.tif", byteorder=">"), IDS),
  Case("TIFF, LZW", ids(IDS, "a.tif", compression="lzw"), IDS),
  Case("TIFF, deflate with predictor", ids(IDS, "a.tif", compression="zlib", predictor=True), IDS),
  Case("TIFF of a palette", pillow(palette(), "a.tif"), IDS),
  Case("TIFF of white 0", ids(IDS, "a.tif", photometric="miniswhite"), IDS),
  Case("ids far from 0", ids(FAR, "a.tif", label_ids=np.arange(5) * 100_000 - 70_000), IDS),
  Case("-1 is ignored", ids(MINUS, "a.tif", ignore_ids=(-1,)), IGNORED),
  Case("-1 is a class", ids(MINUS, "a.tif", label_ids=((-1, 0), 1, 2, 3, 4)), np.maximum(MINUS, 0)),
  Case("-1 as a float", ids(MINUS.astype(np.float32), "a.tif", ignore_ids=(-1,)), IGNORED),
  Case("colors in a PNG", colors(), IDS),
  Case("colors in a lossless WebP", colors("a.webp", lossless=True), IDS),
  Case("colors in a TIFF", colors("a.tif", photometric="rgb"), IDS),
  Case("a mark that turns", ids(IDS, exif=exif(3)), IDS[::-1, ::-1]),
  Case("-1 is not named", ids(MINUS, "a.tif"), sentence=r"a\.tif holds the ids -1, which are neither"),
  Case("fractions", ids(IDS + np.float32(0.5), "a.tif"), sentence=r"holds 0\.5, which is no id"),
  Case("NaN", ids(IDS * np.float32("nan"), "a.tif"), sentence="holds nan, which is no id"),
  Case("too large for an id", ids(IDS + np.float64(1e30), "a.tif"), sentence="holds 1e[+]30, which"),
  Case("colors, not ids", ids(COLORS[IDS]), sentence=r"holds colors \(RGB\), not one id per pixel"),
  Case("bands, not ids", ids(np.dstack([IDS] * 5), "a.tif", photometric="minisblack", planarconfig="contig"), sentence=r"holds colors \(5 bands\)"),
  Case("pages, not ids", ids(np.stack([IDS] * 7), "a.tif", photometric="minisblack"), sentence=r"holds colors \(7 bands\)"),
  Case("JPEG", ids(IDS, "a.jpg"), sentence=r"a\.jpg is a JPEG, which changes the values of pixels"),
  Case("JPEG called PNG", ids(IDS, "a.png", format="JPEG"), sentence=r"a\.png is a JPEG, which"),
  Case("colors in a JPEG", colors("a.jpg"), sentence="is a JPEG, which changes the values"),
  Case("WebP with loss", colors("a.webp", quality=50), sentence="is a WebP, which changes the values"),
)  # fmt: skip


@parametrize(*CASES)
def test_a_label_is_read_or_refused_in_one_sentence(case, tmp_path):
  check(case, tmp_path)


def test_a_label_may_be_as_large_as_its_image(tmp_path, monkeypatch):
  monkeypatch.setattr(
    PIL.Image, "MAX_IMAGE_PIXELS", 10
  )  # the limit of Pillow, at 179 million pixels
  image, label = picture()
  pair = Pair(save(tmp_path / "image.png", image), save(tmp_path / "label.png", label))
  coding = label_coding.by_ids((0, 1, 2), ())
  np.testing.assert_array_equal(folder_pairs.read(pair, coding)[0], image)
  np.testing.assert_array_equal(folder_pairs.read(pair, coding)[1], label)
  few = label_coding.by_ids((0, 1, 2), (), max_pixels=100)
  with pytest.raises(
    ValueError, match=r"label\.png has 32x48 = 1536 pixels, more than max_image_p"
  ):
    folder_pairs.read(pair, few)


def test_rows_are_looked_up_in_parts_with_the_same_result(tmp_path, monkeypatch):
  file = tmp_path / "a.tif"
  tifffile.imwrite(file, MINUS)
  coding = label_coding.by_ids((0, 1, 2, 3, 4), (-1,))
  monkeypatch.setattr(label_coding, "_PIXELS_AT_ONCE", 7)
  np.testing.assert_array_equal(coding.train_ids(file), IGNORED)


def test_a_histogram_names_the_values_of_files(tmp_path):
  files = [save(tmp_path / "a.png", IGNORED), tmp_path / "none.png"]
  shares = label_coding.by_ids((0, 1, 2, 3, 4), (255,)).histogram(files)
  assert next(iter(shares)) == "255" and shares["255"] == 6 / 30
