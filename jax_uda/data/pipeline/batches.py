"""Batches: batch t is a pure function of (seed, t), so a run can continue at any step.

Row r of the global batch t depends on (seed, t, r) alone. So the rows of several processes together are
those of one process, and the number of threads changes nothing. Images stay uint8; strong
augmentation and standardising happen on the device.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import grain
import numpy as np

from jax_uda.data import label_spaces
from jax_uda.data.pipeline import crop, rescale
from jax_uda.data.pipeline import rare_class as rare_class_lib
from jax_uda.data.pipeline.class_balance import BalancedOrder
from jax_uda.data.pipeline.examples import Example, Examples
from jax_uda.data.pipeline.rare_class import RareClassSampling

SOURCE, TARGET = 0, 1  # streams of random numbers
NUM_STEPS = 2**40  # no run is longer

# An example with what its row of a batch shows of it.
Row = tuple[Example, crop.View]
DrawView = Callable[[Example, np.random.Generator], Row]
# (number of the draw, random numbers) -> one row of a batch
DrawRow = Callable[[int, np.random.Generator], Row]


# What fields that are smaller than the crop are extended by; of `valid`: nothing is known there.
_PADDING = {
  "image": crop.PAD_COLOR,
  "day_image": crop.PAD_COLOR,
  "label": label_spaces.IGNORE,
  "valid": 0,
}


def _draw_view(
  example: Example,
  rng: np.random.Generator,
  *,
  size: tuple[int, int],
  cat_max_ratio: float,
  flip: bool,
) -> Row:
  """A random crop of `size`, mirrored half of the time; the same for all fields."""
  label = example.get("label")
  draw = lambda: crop.draw_box(example["image"].shape[:2], size, rng)
  box = draw() if label is None else crop.choose_box(label, draw, cat_max_ratio)
  return example, crop.View(box, is_mirrored=flip and rng.random() < 0.5)


def _without_labels(example: Example, margins: Sequence[int]) -> Example:
  """The fields of a target example that training may see, and the mask of its margins, if any.

  A label is the image's pseudo-label, never what the data set says.
  """
  seen = {name: example[name] for name in ("image", "day_image") if name in example}
  sizes = {name: array.shape[:2] for name, array in seen.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(f"A target image and its day image differ in size: {sizes}.")
  if "pseudo_label" in example:
    seen["label"] = example["pseudo_label"]
  if margins:
    seen["valid"] = crop.margin_mask(sizes["image"], margins)
  return seen


def _whole_size(target: Sequence[Example]) -> tuple[int, int]:
  """The size of target images that are not cropped: that of the first."""
  return target[0]["image"].shape[:2] if len(target) else ()


def _check_size(example: Example, size: tuple[int, int]) -> None:
  """Raises ValueError if an image that is not to be cropped has another size."""
  found = example["image"].shape[:2]
  if found != size:
    raise ValueError(
      f"config.data.crop_target = False needs target images of one size, but the first has {size} "
      f"and another {found}; crop them, or prepare the data set at one size."
    )


def _in_epochs(examples: Sequence[Example], seed: int, stream: int, view: DrawView) -> DrawRow:
  """Every example once an epoch, each epoch in another order."""
  if not len(examples):
    raise ValueError("A domain has no training images; see config.data.")
  order_seed = int(np.random.SeedSequence((seed, stream)).generate_state(1)[0])
  order = grain.MapDataset.range(len(examples)).seed(order_seed).shuffle().repeat()
  return lambda number, rng: view(examples[order[number]], rng)


def _class_balanced(examples: Examples, seed: int, view: DrawView) -> DrawRow:
  """An image of the class that was drawn less often so far."""
  order = BalancedOrder(examples.class_counts, seed)
  return lambda number, rng: view(examples[order[number]], rng)


def _by_rare_class(examples: Examples, sampling: RareClassSampling, view: DrawView) -> DrawRow:
  """A crop of an image of a drawn class, repeated until it holds enough pixels of the class."""
  table = rare_class_lib.make_table(
    examples.class_counts, temperature=sampling.temperature, min_pixels=sampling.min_pixels
  )

  def draw_row(number: int, rng: np.random.Generator) -> Row:
    del number  # drawn with replacement
    class_index, image_index = table.draw(rng)
    example = examples[image_index]
    for _ in range(rare_class_lib.MAX_TRIES):
      row = view(example, rng)
      label = row[1].box.of(example["label"])
      if np.count_nonzero(label == class_index) > sampling.crop_min_pixels:
        break
    return row

  return draw_row


def _stack(rows: Iterable[Row], count: int, size: tuple[int, int]) -> Example:
  """`count` rows as one array [count,*size,...] for each field.

  Each row is copied before the next is made: memory for whole images is used again at once.
  """
  batch: Example = {}
  for index, (example, view) in enumerate(rows):
    for name, array in example.items():
      if not index:
        batch[name] = np.empty((count, *size, *array.shape[2:]), array.dtype)
      view.copy(array, batch[name][index], _PADDING[name])
  return batch


def training_batches(
  source: Examples,
  target: Examples,
  *,
  batch_size: int,
  crop_size: tuple[int, int],
  seed: int,
  cat_max_ratio: float = 0.75,
  rare_class: RareClassSampling | None = None,
  class_balanced: bool = False,
  flip: bool = True,
  crop_target: bool = True,
  target_margins: Sequence[int] = (),
  target_scale: Sequence[float] = (),
  process_index: int = 0,
  process_count: int = 1,
) -> grain.MapDataset:
  """Endless training batches with random access.

  Source and target are drawn, cropped and mirrored independently of each other. Without rare class
  sampling, and for the target always, each image comes once an epoch; the reference draws with
  replacement. An image smaller than
  the crop is padded.

  Args:
    source: With labels, and with `class_counts` if `rare_class` or `class_balanced` is given.
    target: Without labels, or with a `pseudo_label` each.
    batch_size: Images of each domain over all processes.
    crop_size: (height, width) in pixels.
    seed: Non-negative.
    cat_max_ratio: Largest share of one class in an accepted source crop.
    rare_class: How source images are drawn; None: each once an epoch, as those of the target.
    class_balanced: Draw source images by `class_balance.BalancedOrder` (SPCL) instead.
    flip: Whether to mirror half of the images.
    crop_target: False: target images come whole, all of one size (SePiCo's classes from the whole
      image).
    target_margins: (top, bottom, left, right) in pixels of the target images, where a pseudo-label is
      not to be trusted; empty: no mask.
    target_scale: (least, largest) factor by which target images are resized before the crop; empty:
      they are not.
    process_index: Which rows to make: those of this process.
    process_count: Number of processes that share a batch.

  Returns:
    `batches[t]` = `{"source": {"image": uint8 [b,h,w,3], "label": uint8 [b,h,w]}, "target":
    {"image": uint8 [b,h,w,3]}}` with b = batch_size / process_count. The target also has a
    `day_image` like its image, where the data set brings one; a `label` like the source's, where it has
    pseudo-labels; and with `target_margins` `valid`, uint8 [b,h,w], 0 in margins and padding and 1
    elsewhere.

  Raises:
    ValueError: The batch cannot be split, a domain is empty, margins are not four, rare classes cannot
      be drawn, or whole target images (when a batch is made) are not of one size.
  """
  if batch_size % process_count:
    raise ValueError(
      f"config.batch_size = {batch_size} cannot be split over {process_count} processes; "
      f"use a multiple of {process_count}."
    )
  crop.check_margins(target_margins)
  sizes = {
    SOURCE: tuple(crop_size),
    TARGET: tuple(crop_size) if crop_target else _whole_size(target),
  }
  view_source = functools.partial(
    _draw_view, size=sizes[SOURCE], cat_max_ratio=cat_max_ratio, flip=flip
  )
  any_crop = functools.partial(  # whatever a pseudo-label says
    _draw_view, size=sizes[TARGET], cat_max_ratio=1.0, flip=flip
  )

  def view_target(example: Example, rng: np.random.Generator) -> Row:
    example = _without_labels(example, target_margins)
    if target_scale:
      example = rescale.scale_example(example, rng.uniform(*target_scale))
    if not crop_target:
      _check_size(example, sizes[TARGET])
    return any_crop(example, rng)

  if rare_class and class_balanced:
    raise ValueError("config.data.rare_class and config.data.class_balanced exclude each other.")
  if rare_class:
    draw_source = _by_rare_class(source, rare_class, view_source)
  elif class_balanced:
    draw_source = _class_balanced(source, seed, view_source)
  else:
    draw_source = _in_epochs(source, seed, SOURCE, view_source)
  draw_row = {
    SOURCE: draw_source,
    TARGET: _in_epochs(target, seed, TARGET, view_target),
  }
  share = batch_size // process_count
  rows = range(process_index * share, (process_index + 1) * share)

  def draw(stream: int, step: int) -> Example:
    made = (
      draw_row[stream](step * batch_size + row, np.random.default_rng((seed, stream, step, row)))
      for row in rows
    )
    return _stack(made, share, sizes[stream])

  return grain.MapDataset.range(NUM_STEPS).map(
    lambda step: {"source": draw(SOURCE, step), "target": draw(TARGET, step)}
  )


def iterate(
  batches: grain.MapDataset, start_step: int = 0, *, num_threads: int = 2, buffer_size: int = 4
) -> grain.DatasetIterator:
  """Iterates from `start_step` on; threads make `buffer_size` batches ahead. `close()` it at the end.

  Without threads batches are made when they are asked for.
  """
  ahead = max(buffer_size, num_threads) if num_threads else 0
  iterator = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads, ahead)))
  iterator.set_state({"next_index": start_step})
  return iterator


def evaluation_batches(examples: Sequence[Example], batch_size: int) -> Iterator[Example]:
  """All examples once, in order; each batch `{"image": [B,H,W,3], "label": [B,h,w]}`, both uint8.

  A batch holds neighbours of the same sizes; it is smaller than `batch_size` at the end and where a
  size changes. A label may be larger than its image: scores are then those at the label's size.
  """
  shapes = lambda example: {name: np.shape(array) for name, array in example.items()}
  stack = lambda rows: {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  rows: list[Example] = []
  for index in range(len(examples)):
    example = examples[index]
    if rows and (len(rows) == batch_size or shapes(rows[0]) != shapes(example)):
      yield stack(rows)
      rows = []
    rows.append(example)
  if rows:
    yield stack(rows)
