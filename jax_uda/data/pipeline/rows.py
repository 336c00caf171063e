"""The rows of a batch: which example comes, and what part of it.

A row depends on its number and its random numbers alone, whatever order rows are asked for in.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, cast

import grain
import numpy as np

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.pipeline import crop, rescale
from jax_uda.data.pipeline import rare_class as rare_class_lib
from jax_uda.data.pipeline.class_balance import BalancedOrder
from jax_uda.data.pipeline.examples import Example, LabelledExample, TargetExample
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.pipeline.rescale import Size
from jax_uda.data.pipeline.several import Several

Row = tuple[Example, crop.Crop]  # an example, and the part of it that the batch shows
E = TypeVar("E", bound=Example)
DrawCrop = Callable[[E, np.random.Generator], Row]
DrawRow = Callable[[int, np.random.Generator], Row]  # (number of the draw, random numbers) -> row

# What extends fields that are smaller than the crop. `valid` is 0: nothing is known there.
_PADDING: dict[str, np.ndarray | int] = {
  "image": crop.PAD_COLOR,
  "day_image": crop.PAD_COLOR,
  "label": label_spaces.IGNORE,
  "valid": 0,
}


class SourceImages(Protocol):
  """Labelled images that are drawn by their classes; usually `LabelledExamples`."""

  @property
  def class_counts(self) -> np.ndarray | None:
    """[N,C] int64 pixels of each class in each label."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> LabelledExample: ...


def draw_crop(
  example: Example,
  rng: np.random.Generator,
  *,
  size: Size,
  cat_max_ratio: float,
  flip: bool,
) -> Row:
  """A random crop, the same for all fields.

  Args:
    example: Has an `image`; if it has a `label`, crops of one class alone are redrawn.
    rng: Random numbers.
    size: (height, width) of the crop.
    cat_max_ratio: The largest accepted share of one class; see `crop.choose_window`.
    flip: Whether half of the crops are mirrored.
  """
  label = example.get("label")
  draw = lambda: crop.draw_window(example["image"].shape[:2], size, rng)
  window = draw() if label is None else crop.choose_window(label, draw, cat_max_ratio)
  return example, crop.Crop(window, is_mirrored=flip and rng.random() < 0.5)


def target_fields(example: TargetExample, margins: Sequence[float] | None) -> dict[str, np.ndarray]:
  """The fields of a target example that a batch has. A label in it is the stored pseudo-label.

  Args:
    example: Whatever else it holds is left behind, also a label of the data set.
    margins: (top, bottom, left, right) in pixels for the mask `valid`; None: no mask.

  Raises:
    ValueError: The day image has another size than the image.
  """
  fields = {"image": example["image"]}
  if "day_image" in example:
    fields["day_image"] = example["day_image"]
  sizes = {name: array.shape[:2] for name, array in fields.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(f"A target image and its day image differ in size: {sizes}.")
  if "pseudo_label" in example:
    fields["label"] = example["pseudo_label"]
  if margins:
    fields["valid"] = crop.margin_mask(sizes["image"], margins)
  return fields


def whole_size(target: Sequence[TargetExample]) -> Size:
  """The size of target images that are not cropped: the size of the first image."""
  if not len(target):
    raise SettingError("target", ": there are no training images.")
  height, width = target[0]["image"].shape[:2]
  return height, width


def target_crop(
  size: Size,
  *,
  flip: bool,
  is_cropped: bool,
  margins: Sequence[float] | None,
  scale: Sequence[float] | None,
) -> DrawCrop[TargetExample]:
  """The function that draws a row of a target example.

  Args:
    size: (height, width) of the rows.
    flip: Whether half of the rows are mirrored.
    is_cropped: False if images come whole; `size` is then their size.
    margins: (top, bottom, left, right) for the mask `valid`, or None.
    scale: (least, largest) factor by which images are resized first, or None.
  """
  # A crop is accepted whatever its pseudo-label says.
  any_crop = functools.partial(draw_crop, size=size, cat_max_ratio=1.0, flip=flip)

  def draw(example: TargetExample, rng: np.random.Generator) -> Row:
    fields = _scaled(target_fields(example, margins), scale, rng)
    image_size = fields["image"].shape[:2]
    if not is_cropped and image_size != size:
      raise SettingError(
        "crop_target",
        f"= False needs target images of one size, but the first has {size} and another {image_size}; "
        "crop them, or prepare the data set at one size.",
      )
    return any_crop(fields, rng)

  return draw


def in_epochs(
  examples: Sequence[E], domain: str, seed: int, stream: int, draw: DrawCrop[E]
) -> DrawRow:
  """Rows of all examples once per epoch, each epoch in another order.

  Several data sets with given shares are drawn with replacement instead, each as often as its share says.

  Raises:
    SettingError: The domain has no examples.
  """
  if not len(examples):
    raise SettingError(domain, ": there are no training images.")
  if isinstance(examples, Several) and examples.shares:
    return _by_share(examples, draw)
  order_seed = int(np.random.SeedSequence((seed, stream)).generate_state(1)[0])
  order = grain.MapDataset.range(len(examples)).seed(order_seed).shuffle().repeat()
  return lambda number, rng: draw(examples[cast(int, order[number])], rng)


def _by_share(examples: Several, draw: DrawCrop[Any]) -> DrawRow:
  def draw_row(number: int, rng: np.random.Generator) -> Row:
    del number  # drawn with replacement
    part = examples.parts[examples.draw_part(rng)]
    return draw(part[int(rng.integers(len(part)))], rng)

  return draw_row


def _class_counts(examples: SourceImages, setting: str) -> np.ndarray:
  if examples.class_counts is None:
    raise SettingError(setting, "needs source images with `class_counts`.")
  return examples.class_counts


def class_balanced(examples: SourceImages, seed: int, draw: DrawCrop[Example]) -> DrawRow:
  """Rows of images of the classes that were drawn less often so far (SPCL)."""
  order = BalancedOrder(_class_counts(examples, "class_balanced"), seed)
  return lambda number, rng: draw(examples[order[number]], rng)


def by_rare_class(
  examples: SourceImages,
  sampling: RareClassSampling,
  draw: DrawCrop[Example],
  *,
  cat_max_ratio: float,
  scale: Sequence[float] | None = None,
) -> DrawRow:
  """Rows of images of drawn classes; a crop is redrawn until it holds enough pixels of the class.

  Args:
    examples: Labelled images with their class counts. Of several data sets, first one is drawn by its
      share or size, then a class with the statistics of that set.
    sampling: How classes are drawn, and which crops are accepted.
    draw: Draws a row of an example; with `sampling.joint_tries` without regard to `cat_max_ratio`.
    cat_max_ratio: The largest share of one class in a crop that `sampling.joint_tries` accepts.
    scale: (least, largest) factor by which the image is resized before all tries, or None.
  """
  several = examples if isinstance(examples, Several) else None
  parts: Sequence[SourceImages] = several.parts if several else (examples,)
  with registry.within("rare_class"):
    tables = [
      rare_class_lib.make_table(
        _class_counts(part, "rare_class"),
        temperature=sampling.temperature,
        min_pixels=sampling.min_pixels,
      )
      for part in parts
    ]

  def is_accepted(label: np.ndarray, class_index: int) -> bool:
    if np.count_nonzero(label == class_index) <= sampling.crop_min_pixels:
      return False
    return not sampling.joint_tries or cat_max_ratio >= 1 or crop.is_varied(label, cat_max_ratio)

  def draw_row(number: int, rng: np.random.Generator) -> Row:
    del number  # drawn with replacement
    part = several.draw_part(rng) if several else 0
    class_index, image_index = tables[part].draw(rng)
    example = _scaled(parts[part][image_index], scale, rng)
    row = draw(example, rng)
    for _ in range(sampling.tries - 1):
      if is_accepted(row[1].window.of(example["label"]), class_index):
        break
      row = draw(example, rng)
    return row

  return draw_row


def scaled(draw: DrawCrop[Example], scale: Sequence[float] | None) -> DrawCrop[Example]:
  """`draw` on images resized by a random factor between the two of `scale`; None: as they are."""
  return lambda example, rng: draw(_scaled(example, scale, rng), rng)


def _scaled(example: Example, scale: Sequence[float] | None, rng: np.random.Generator) -> Example:
  if not scale:
    return example
  least, largest = scale
  return rescale.scale_example(example, rng.uniform(least, largest))


def stack(rows: Iterable[Row], count: int, size: Size) -> dict[str, np.ndarray]:
  """`count` rows as one array [count,*size,...] per field.

  Each row is copied before the next is drawn: the memory of whole images is used again at once.
  """
  batch: dict[str, np.ndarray] = {}
  for index, (example, part) in enumerate(rows):
    for name, array in example.items():
      if not index:
        batch[name] = np.empty((count, *size, *array.shape[2:]), array.dtype)
      part.fill(batch[name][index], array, _PADDING[name])
  return batch
