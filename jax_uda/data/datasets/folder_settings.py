"""What a config says about a data set of folders, checked."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.datasets import image_headers, label_coding
from jax_uda.data.datasets import value_range as value_range_lib
from jax_uda.data.datasets.label_coding import Coding, Color
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.roles import Role


def make_label_space(
  classes: str | Sequence[str], palette: Sequence[Sequence[int]] = ()
) -> LabelSpace:
  """The known label space of a name, or a new one.

  Args:
    classes: A key of `label_spaces.KNOWN`, or class names in the order of the train ids.
    palette: One color (red, green, blue) per class; empty: colors are chosen.

  Raises:
    SettingError: The name is unknown, or names or colors do not fit.
  """
  if isinstance(classes, str):
    return registry.lookup(label_spaces.KNOWN, classes, ("classes",))
  names = tuple(classes)
  if not 2 <= len(set(names)) == len(names) < label_coding.UNKNOWN:
    raise SettingError(
      "classes", f"= {names} must be 2 to {label_coding.UNKNOWN - 1} different names."
    )
  colors = np.array(list(palette) or label_spaces.distinct_colors(len(names)))
  if colors.shape != (len(names), 3) or colors.min() < 0 or colors.max() > 255:
    raise SettingError(
      "palette",
      f"must be {len(names)} colors (red, green, blue) in 0..255, one for each class; given are "
      f"{len(palette)}.",
    )
  title = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''} ({len(names)} classes)"
  return label_spaces.make(title, names, colors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
  """All that a config says about a data set of folders.

  Attributes:
    path: The folder that `train` and `val` start from.
    train: (image folder, label folder), or (image folder,) for a target. Needed unless the data set is
      for evaluation alone.
    val: (image folder, label folder) for evaluation, or (image folder,), which gives no score.
    classes: Names in the order of the classes, or a key of `label_spaces.KNOWN`.
    label_ids: The id of each class in the label files, or several ids; empty: 0, 1, 2, ….
    ignore_ids: Ids of pixels that do not count. All other ids are errors.
    label_colors: The color (red, green, blue) of each class in the label files, or several colors;
      empty: label files hold ids.
    ignore_colors: Colors of pixels that do not count. All other colors are errors.
    palette: One color (red, green, blue) per class for pictures; empty: colors are chosen.
    image_suffix: The end of the stems of image files; others are left out.
    label_suffix: The end of the stems of label files.
    size: (height, width) in pixels into which images are fitted, keeping their ratio; () leaves them
      as they are. Labels of `val` keep their size.
    bands: The numbers of the bands, from 1, that are red, green and blue, e.g. (3, 2, 1), or of one band;
      () takes the first three, and refuses files with more than four.
    value_range: (low, high) of the stored values, which become 0 and 255, or one pair for each of three
      bands; "percentile" takes the 2nd and 98th percentile per band of the training images when they are
      prepared. () takes all that 8 or 16 bits can hold.
    max_image_pixels: Larger images and labels are refused before they are decoded.
    allow_missing: Whether training may begin though a class never occurs in the source's labels.
  """

  path: str
  train: Sequence[str] = ()
  val: Sequence[str]
  classes: str | Sequence[str]
  label_ids: Sequence[int | Sequence[int]] = ()
  ignore_ids: Sequence[int] = (255,)
  label_colors: Sequence[Color | Sequence[Color]] = ()
  ignore_colors: Sequence[Color] = ()
  palette: Sequence[Sequence[int]] = ()
  image_suffix: str = ""
  label_suffix: str = ""
  size: Sequence[int] = ()
  bands: Sequence[int] = ()
  value_range: str | Sequence[Any] = ()
  max_image_pixels: int = image_headers.MAX_PIXELS
  allow_missing: bool = False

  @property
  def wants_percentiles(self) -> bool:
    """Whether the range of values comes from the training images."""
    return self.value_range == value_range_lib.PERCENTILE

  @property
  def reading(self) -> Reading:
    """How images are read, without the range of percentiles; raises SettingError for a wrong setting."""
    limit = self.max_image_pixels
    if not isinstance(limit, int) or limit < 1:
      raise SettingError("max_image_pixels", f"= {limit!r} must be a number of pixels.")
    bands = value_range_lib.check_bands(self.bands)
    pairs = value_range_lib.check_range(() if self.wants_percentiles else self.value_range)
    if len(pairs) == 3 and len(bands) == 1:
      raise SettingError("value_range", "has three pairs for one band.")
    return Reading(bands, pairs, limit)

  def parts(self, role: Role) -> dict[str, Sequence[str]]:
    """The folders of each split that is read in this role; raises SettingError if they are not folders.

    The label folder of a target's training images is not among them.
    """
    parts: dict[str, Sequence[str]] = {"train": self.train, "val": self.val}
    if not role.is_trained_on:
      del parts["train"]
    for name, folders in parts.items():
      if isinstance(folders, str) or len(folders) not in (1, 2):
        raise SettingError(
          name,
          f"= {folders!r} must be (image folder, label folder) or, without labels, (image folder,).",
        )
    if role is Role.TARGET:
      parts["train"] = parts["train"][:1]
    return parts

  def coding(self, num_classes: int) -> tuple[Coding, tuple[tuple, tuple]]:
    """The coding of the label files, and the values that it knows: those of classes, those to ignore.

    Raises:
      SettingError: The values do not fit each other or the classes.
    """
    if self.label_colors and self.label_ids:
      raise SettingError((), ": give label_ids or label_colors, not both.")
    if self.ignore_colors and not self.label_colors:
      raise SettingError("ignore_colors", "needs label_colors: the color of each class.")
    values = tuple(self.label_colors or self.label_ids) or tuple(range(num_classes))
    if len(values) != num_classes:
      name = "label_colors" if self.label_colors else "label_ids"
      raise SettingError(name, f"has {len(values)} entries for {num_classes} classes.")
    if self.label_colors:
      ignored = tuple(self.ignore_colors)
      coding = label_coding.by_colors(self.label_colors, ignored, self.max_image_pixels)
      return coding, (values, ignored)
    ids = self.label_ids or range(num_classes)
    coding = label_coding.by_ids(ids, self.ignore_ids, self.max_image_pixels)
    return coding, (values, tuple(self.ignore_ids))

  def meaning(self, values: tuple[tuple, tuple]) -> list[Any]:
    """All settings that decide what images and labels mean; for the name of the prepared folder."""
    more = {}
    if self.bands:
      more["bands"] = tuple(self.bands)
    if self.value_range:
      more["value_range"] = self.value_range
    return [*values, more] if more else list(values)

  @property
  def advice(self) -> str:
    """What to change if a class never occurs."""
    if self.label_colors:
      return "If another color stands for it, name that in label_colors."
    return (
      "If another id stands for it, name that in label_ids; an id cannot be in ignore_ids, too, e.g. "
      "label_ids=(0, 255), ignore_ids=() for masks of 0 and 255."
    )
