import cv2
import numpy as np
import PIL.Image
import pytest

from jax_uda.data.datasets import base, catalog, from_files, image_files
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

BAD_SIZES = ((720,), (0, 0), (-5, 10), "720,1280", (720.0, 1280.0), (1, 2, 3), 512, (True, 4), None)


@pytest.mark.parametrize("size", BAD_SIZES)
def test_a_size_that_is_none_is_explained(size):
  with pytest.raises(ValueError, match=r"^size = .* must be \(height, width\)"):
    from_files.check_size(size)


def test_sizes_become_tuples():
  assert from_files.check_size([np.int64(3), 4]) == (3, 4)
  assert from_files.check_size(()) is None


@pytest.mark.parametrize(
  "spec",
  (
    dict(name="gta5"),
    dict(name="folders", train=("a",), val=("a",), classes=("x", "y")),
    dict(name="camvid", train=("train",), val=("val",)),
  ),
)
def test_all_sets_of_files_check_their_size(tmp_path, spec):
  with pytest.raises(ValueError, match=r"^size = \(0, 0\) must be"):
    spec = dict(**spec, path=str(tmp_path), size=(0, 0))
    catalog.find_builder(spec, tmp_path / "prepared", Role.SOURCE)


@pytest.mark.parametrize("size, orientation", (((), 1), ((15, 20), 1), ((), 6), ((15, 20), 6)))
def test_jpegs_that_keep_their_size_are_stored_as_they_are(tmp_path, size, orientation):
  file = tmp_path / "a" / "1.jpg"
  file.parent.mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
  exif = PIL.Image.Exif()
  exif[0x0112] = orientation
  PIL.Image.fromarray(pixels).save(file, exif=exif)
  spec = dict(name="folders", path=str(tmp_path), train=("a",), val=("a",), classes=("x", "y"))
  builder = catalog.find_builder(spec | dict(size=size), tmp_path / "prepared", Role.TARGET)
  examples = Examples(base.prepare(builder), "train", fields=("image",))
  expected = image_files.read_image(file)
  assert expected.shape == ((30, 40, 3) if orientation == 1 else (40, 30, 3))
  if size:
    expected = cv2.resize(expected, (expected.shape[1] // 2, expected.shape[0] // 2))
  np.testing.assert_array_equal(examples[0]["image"], expected)
  stored = next(builder.data_path.glob("*train*array_record*")).read_bytes()
  assert (file.read_bytes() in stored) == (not size and orientation == 1)
