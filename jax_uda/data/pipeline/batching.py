"""Batches: batch t is a pure function of (seed, t), so a run can continue at any step.

Row r of the global batch t depends on (seed, t, r) alone. So the rows of several processes together are
those of one process, and the number of threads changes nothing. Images stay uint8; strong
augmentation and standardising happen on the device.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import grain
import jax
import numpy as np

from jax_uda.common.batch import Batch
from jax_uda.common.registry import SettingError
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import crop, rescale, rows
from jax_uda.data.pipeline.examples import LabelledExample, TargetExample
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.pipeline.rescale import Size
from jax_uda.data.pipeline.rows import SourceImages
from jax_uda.ops import canvas as canvas_lib

SOURCE, TARGET = 0, 1  # streams of random numbers
NUM_STEPS = 2**40  # no run is longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings:
  """How training batches are drawn; the same on all processes.

  Attributes:
    batch_size: The number of images of each domain over all processes.
    crop_size: (height, width) in pixels.
    seed: A number >= 0.
    cat_max_ratio: The largest share of one class in an accepted source crop.
    rare_class: How source images with rare classes are preferred; None draws each image once per epoch,
      as in the target.
    class_balanced: Whether source images are drawn by `class_balance.BalancedOrder` (SPCL) instead.
    flip: Whether half of the images are mirrored.
    crop_target: Whether target images are cropped. If not, they come whole and must have one size
      (SePiCo takes its classes from the whole image).
    target_margins: (top, bottom, left, right) of the target images, where a pseudo-label cannot be
      trusted, in pixels or, below 1, as shares of the image; None: batches have no mask `valid`.
    source_scale: (least, largest) factor by which source images are resized before the crop; None:
      they are not resized.
    target_scale: The same for target images.
  """

  batch_size: int
  crop_size: Size
  seed: int
  cat_max_ratio: float = 0.75
  rare_class: RareClassSampling | None = None
  class_balanced: bool = False
  flip: bool = True
  crop_target: bool = True
  target_margins: Sequence[float] | None = None
  source_scale: Sequence[float] | None = None
  target_scale: Sequence[float] | None = None

  def __post_init__(self):
    """Raises SettingError if settings do not fit each other."""
    crop.check_margins(self.target_margins)
    for name in ("source_scale", "target_scale"):
      rescale.check_scale(name, getattr(self, name))
    if self.rare_class and self.class_balanced:
      raise SettingError("rare_class", "and class_balanced exclude each other.")


def _rows_of_process(batch_size: int, index: int, count: int) -> range:
  """The rows of a global batch that process `index` of `count` makes."""
  if batch_size % count:
    raise ValueError(
      f"batch_size = {batch_size} cannot be split over {count} processes; use a multiple of {count}."
    )
  share = batch_size // count
  return range(index * share, (index + 1) * share)


def _source_rows(
  source: Sequence[LabelledExample] | SourceImages, settings: BatchSettings
) -> rows.DrawRow:
  sampling = settings.rare_class
  draw = functools.partial(
    rows.draw_crop,
    size=settings.crop_size,
    cat_max_ratio=1.0 if sampling and sampling.joint_tries else settings.cat_max_ratio,
    flip=settings.flip,
  )
  if sampling:
    return rows.by_rare_class(
      cast(SourceImages, source),
      sampling,
      draw,
      cat_max_ratio=settings.cat_max_ratio,
      scale=settings.source_scale,
    )
  draw = rows.scaled(draw, settings.source_scale)
  if settings.class_balanced:
    return rows.class_balanced(cast(SourceImages, source), settings.seed, draw)
  return rows.in_epochs(
    cast(Sequence[LabelledExample], source), "source", settings.seed, SOURCE, draw
  )


def _target_rows(
  target: Sequence[TargetExample], size: Size, settings: BatchSettings
) -> rows.DrawRow:
  draw = rows.target_crop(
    size,
    flip=settings.flip,
    is_cropped=settings.crop_target,
    margins=settings.target_margins,
    scale=settings.target_scale,
  )
  return rows.in_epochs(target, "target", settings.seed, TARGET, draw)


def training_batches(
  source: Sequence[LabelledExample] | SourceImages,
  target: Sequence[TargetExample],
  settings: BatchSettings,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.MapDataset[Batch]:
  """Endless training batches with random access.

  Source and target are drawn, cropped and mirrored independently of each other. Without rare class
  sampling, and in the target always, each image comes once per epoch; the reference draws with
  replacement. An image smaller than the crop is padded.

  Args:
    source: Labelled images, with `class_counts` if they are drawn by their classes.
    target: Images without labels, or with a `pseudo_label` each. A label of the data set, if there is
      one, is left behind.
    settings: How batches are drawn.
    process_index: The process whose rows are made.
    process_count: The number of processes that share a batch.

  Returns:
    `batches[t]`, of the form `Batch`, with batch_size / process_count rows of each domain.

  Raises:
    SettingError: A domain is empty, or rare classes cannot be drawn; or, when a batch is made, whole
      target images are not of one size.
    ValueError: The batch cannot be split over the processes.
  """
  own_rows = _rows_of_process(settings.batch_size, process_index, process_count)
  sizes = {SOURCE: settings.crop_size, TARGET: settings.crop_size}
  if not settings.crop_target:
    sizes[TARGET] = rows.whole_size(target)
  draw_row = {
    SOURCE: _source_rows(source, settings),
    TARGET: _target_rows(target, sizes[TARGET], settings),
  }

  def draw(stream: int, step: int) -> dict[str, np.ndarray]:
    rng_of = lambda row: np.random.default_rng((settings.seed, stream, step, row))
    number_of = lambda row: step * settings.batch_size + row
    drawn = (draw_row[stream](number_of(row), rng_of(row)) for row in own_rows)
    return rows.stack(drawn, len(own_rows), sizes[stream])

  def batch_of(step: int) -> Batch:
    return cast(Batch, {"source": draw(SOURCE, step), "target": draw(TARGET, step)})

  return grain.MapDataset.range(NUM_STEPS).map(batch_of)


def iterate(
  batches: grain.MapDataset[Batch],
  start_step: int = 0,
  *,
  num_threads: int = 2,
  buffer_size: int = 4,
) -> grain.DatasetIterator[Batch]:
  """Iterates over batches from `start_step` on. Call `close()` at the end.

  Args:
    batches: Batches with random access.
    start_step: The number of the first batch.
    num_threads: Threads that make batches ahead; 0 makes a batch when it is asked for.
    buffer_size: The number of batches that are made ahead.
  """
  ahead = max(buffer_size, num_threads) if num_threads else 0
  iterator = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads, ahead)))
  iterator.set_state({"next_index": start_step})
  return iterator


def batches(
  source: Sequence[LabelledExample] | SourceImages,
  target: Sequence[TargetExample],
  *,
  batch_size: int,
  crop_size: Size,
  seed: int,
  start_step: int = 0,
  num_threads: int = 2,
  **settings: Any,
) -> Iterator[Batch]:
  """This process's training batches, forever: `for batch in data.batches(source, target, …)`.

  Args:
    source: Labelled images, e.g. `domains.source_train`, or any sequence of `LabelledExample`.
    target: Images without labels, e.g. `domains.target_train`, or any sequence of `TargetExample`.
    batch_size: The number of images of each domain over all processes.
    crop_size: (height, width) in pixels.
    seed: A number >= 0; batch t is a function of (seed, t).
    start_step: The number of the first batch.
    num_threads: Threads that make batches ahead.
    **settings: Further fields of `BatchSettings`, e.g. `rare_class=RareClassSampling()`.

  Raises:
    SettingError: Settings do not fit each other or the images.
  """
  dataset = training_batches(
    source,
    target,
    BatchSettings(batch_size=batch_size, crop_size=crop_size, seed=seed, **settings),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )

  def forever() -> Iterator[Batch]:
    iterator = iterate(dataset, start_step, num_threads=num_threads)
    try:
      yield from iterator
    finally:
      iterator.close()

  return forever()


def evaluation_batches(
  examples: Iterable[Mapping[str, Any]],
  batch_size: int,
  canvas: Callable[[Size], Size] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields all examples once, in order; each batch is `{"image": [B,H,W,3], "label": [B,h,w]}`, uint8.

  A batch holds neighbours of the same sizes. It is smaller than `batch_size` at the end and where a size
  changes. A label may be larger than its image: scores are then taken at the label's size.

  Args:
    examples: Examples of any fields, usually `LabelledExamples`.
    batch_size: The largest number of examples in a batch.
    canvas: From the size of an image to that of its batch, up to which image and label are padded right
      and below, the label with 255. None: nothing is padded.
  """
  shapes = lambda example: {name: np.shape(array) for name, array in example.items()}

  def stack(group: list[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    batch = {name: np.stack([row[name] for row in group]) for name in group[0]}
    height, width = batch["image"].shape[1:3]
    size = canvas((height, width)) if canvas else (height, width)
    if size == (height, width):
      return batch
    pad = lambda name, array: canvas_lib.pad(array, size, IGNORE if name == "label" else None)
    return {name: pad(name, array) for name, array in batch.items()}

  group: list[Mapping[str, Any]] = []
  for example in examples:
    if group and (len(group) == batch_size or shapes(group[0]) != shapes(example)):
      yield stack(group)
      group = []
    group.append(example)
  if group:
    yield stack(group)
