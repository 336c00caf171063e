"""A picture that says which color is which class."""

import io

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from jax_uda.data.label_spaces import LabelSpace

FILE = "legend.png"
_ROW, _BOX, _SIZE = 26, 18, 15  # pixels


def draw(space: LabelSpace) -> bytes:
  """The bytes of a PNG with one row per class: its color and its name."""
  font = PIL.ImageFont.load_default(_SIZE)
  width = max(font.getlength(name) for name in space.names)
  picture = PIL.Image.new("RGB", (int(width) + _BOX + 3 * 8, _ROW * space.num_classes + 8), "white")
  canvas = PIL.ImageDraw.Draw(picture)
  for row, (name, color) in enumerate(zip(space.names, space.palette.tolist(), strict=True)):
    top = 8 + row * _ROW
    canvas.rectangle((8, top, 8 + _BOX, top + _BOX), tuple(color), "black")
    canvas.text((16 + _BOX, top + _BOX // 2), name, "black", font, anchor="lm")
  buffer = io.BytesIO()
  picture.save(buffer, "PNG")
  return buffer.getvalue()
