import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from jax_uda.data.datasets import image_files, pairs

pytestmark = pytest.mark.fast

SIZE = (6, 8)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize("ending", (".png", ".tif"))
def test_16_bits_are_scaled_to_8(tmp_path, ending):
  grey, colors = tmp_path / f"grey{ending}", tmp_path / f"colors{ending}"
  cv2.imwrite(str(grey), IMAGE[..., 0].astype(np.uint16) * 257)
  cv2.imwrite(str(colors), IMAGE[..., ::-1].astype(np.uint16) * 257)
  np.testing.assert_array_equal(image_files.read_image(grey), np.stack([IMAGE[..., 0]] * 3, -1))
  np.testing.assert_array_equal(image_files.read_image(colors), IMAGE)
  cv2.imwrite(str(grey), np.full(SIZE, 300, np.uint16))
  assert (image_files.read_image(grey) == 1).all()


@pytest.mark.parametrize("shape", (SIZE, (*SIZE, 3)))
def test_floats_are_refused(tmp_path, shape):
  cv2.imwrite(str(tmp_path / "a.tif"), np.ones(shape, np.float32))
  with pytest.raises(ValueError, match=r"a\.tif holds float32, .*convert it to 8 or 16 bits"):
    image_files.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ("L", "P", "1", "RGBA", "CMYK"))
def test_all_usual_modes_become_colors(tmp_path, mode):
  picture = PIL.Image.fromarray(IMAGE).convert(mode)
  picture.save(tmp_path / "a.tif" if mode == "CMYK" else tmp_path / "a.png")
  file = next(tmp_path.iterdir())
  actual = image_files.read_image(file)
  np.testing.assert_array_equal(actual, np.array(PIL.Image.open(file).convert("RGB")))


@pytest.mark.parametrize("bits", (1, 2, 4))
def test_grey_values_of_few_bits_are_not_spread(tmp_path, bits):
  values = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
  rows = np.packbits((values[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).reshape(2, -1)
  chunk = lambda kind, data: (
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
  )
  pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
  header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
  parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
  file = tmp_path / "label.png"
  file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
  np.testing.assert_array_equal(image_files.read_values(file), values)


@pytest.mark.parametrize("ending", (".jpg", ".png", ".bmp", ".tif"))
def test_a_file_cut_off_is_no_image(tmp_path, ending):
  file = tmp_path / f"a{ending}"
  cv2.imwrite(str(file), IMAGE)
  file.write_bytes(file.read_bytes()[:-40])
  with pytest.raises(ValueError, match=rf"a\{ending} cannot be read as an image"):
    image_files.read_image(file)


def test_labels_that_are_no_images_or_too_large_are_named_by_their_files(tmp_path):
  file = tmp_path / "a.png"
  file.write_bytes(b"no image")
  with pytest.raises(ValueError, match=r"a\.png cannot be read .*damaged or no image") as error:
    pairs.read_ids(file)
  assert "BytesIO" not in str(error.value)
  PIL.Image.fromarray(IMAGE[..., 0]).save(file)
  with pytest.raises(
    ValueError, match=r"a\.png has 6x8 = 48 pixels, more than max_image_pixels = 20"
  ):
    pairs.read_ids(file, 20)


def test_bytes_of_jpegs_are_told_from_others(tmp_path):
  buffer = io.BytesIO()
  PIL.Image.fromarray(IMAGE).save(buffer, "JPEG")
  (tmp_path / "a.png").write_bytes(buffer.getvalue())  # whatever its name
  assert image_files.jpeg_bytes(tmp_path / "a.png") == buffer.getvalue()
  PIL.Image.fromarray(IMAGE).save(tmp_path / "b.jpg", "PNG")
  assert image_files.jpeg_bytes(tmp_path / "b.jpg") is None
