"""Speed of the input pipeline, beside nothing but decoding the same images with as many threads.

  python benchmarks/pipeline.py [--threads 2] [--images 40] [--turns 12]

Two data sets of drawn streets with the grain of a photograph: pairs of 480x360 pixels, image JPEG and label
PNG, and pairs of 1024x512, both PNG. Files of labels are as Pillow writes them; prepared, they are stored
as the data sets store them. The pipeline makes training batches of 4 + 4: records are read,
source pairs and target images decoded, drawn by rare classes, cropped, mirrored and stacked; nothing
is kept in memory. Bare decoding turns as many of the files' bytes, already in memory, into RGB images and
labels, 4 pairs and 4 images per batch; and so, as a second measure, of the stored bytes. All run in turns, so
that a ratio holds when the machine's speed drifts. It is images/s of the pipeline divided by images/s
of bare decoding, medians over turns; beside it stands the ratio of the CPU time, which other load on the
machine disturbs less.
"""

import argparse
import concurrent.futures
import io
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jax_uda.cli import host_memory
from jax_uda.data import label_spaces, streets
from jax_uda.data.datasets import base, catalog, image_files, shards
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExamples
from jax_uda.data.pipeline.rare_class import RareClassSampling

BATCH = 4
RECORDS = 1000  # in a data set; the pairs repeat
GRAIN = (
  4.0  # standard deviation of the noise, which makes PNG files as long as those of photographs
)
SETS = {
  "480x360 JPEG": dict(size=(360, 480), crop_size=(320, 320), jpeg=True),
  "1024x512 PNG": dict(size=(512, 1024), crop_size=(512, 512), jpeg=False),
}

Pair = tuple[bytes, bytes]


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both sides")
  parser.add_argument("--images", type=int, default=40, help="different pairs of each data set")
  parser.add_argument("--turns", type=int, default=12, help="timed turns of each side")
  parser.add_argument("--batches", type=int, default=64, help="batches in a turn")
  return parser.parse_args()


def draw_pairs(number: int, size: tuple[int, int], jpeg: bool) -> list[Pair]:
  """Draws pairs of an image file and a label file, as bytes."""
  pairs = []
  for index in range(number):
    image, label, _ = streets.draw("day", 0, index, (size[0] // 4, size[1] // 4))
    image, label = (np.repeat(np.repeat(array, 4, 0), 4, 1) for array in (image, label))
    image = cv2.GaussianBlur(image, (0, 0), 2)
    grain = np.random.default_rng(index).normal(0, GRAIN, (*size, 1))
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    encoded = (
      cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
      if jpeg
      else image_files.encode_png(image)
    )
    file = io.BytesIO()
    Image.fromarray(label).save(file, "png")
    pairs.append((encoded, file.getvalue()))
  return pairs


class InMemory(NamedTuple):
  """A pair in place of two files."""

  image: bytes
  label: bytes
  files: tuple = ()


class Stored(base.Builder, skip_registration=True):
  """Pairs at their size: an image as it is, a label decoded and stored."""

  label_space = label_spaces.CAMVID11

  def __init__(self, data_dir: pathlib.Path, pairs: list[Pair]):
    self._pairs = pairs
    super().__init__(data_dir, tfds.core.BuilderConfig(name="pairs"))

  def write(self, *, skip: bool) -> None:
    """Writes the pairs as data sets of files are written."""
    pairs = itertools.islice(itertools.cycle(self._pairs), RECORDS)
    shards.write(
      self, {"train": list(itertools.starmap(InMemory, pairs))}, self._convert, skip=skip
    )

  def _convert(self, split: str, pair: InMemory) -> shards.Converted:
    label = decode_label(pair.label)
    example = {"name": "", "image": pair.image, "label": image_files.encode_png(label)}
    features = self.info.features
    record = features.serialize_example(features.encode_example(example))
    counts = np.bincount(label.ravel(), minlength=256)[: self.label_space.num_classes]
    return shards.Converted("", record, counts.tolist())

  def _split_generators(self, dl_manager):
    raise NotImplementedError("written by `write`")  # abstract in the base class


def decode_image(data: bytes) -> np.ndarray:
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def decode_label(data: bytes) -> np.ndarray:
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def bare_decoding(pairs: list[Pair], threads: int, batches: int) -> Callable[[int], None]:
  """A turn that decodes what `batches` batches need."""
  pool = concurrent.futures.ThreadPoolExecutor(threads)

  def decode(index: int) -> int:
    image, label = pairs[index % len(pairs)]
    other = pairs[(7 * index + 3) % len(pairs)][0]
    return decode_image(image).size + decode_label(label).size + decode_image(other).size

  def turn(number: int) -> None:
    first = number * batches * BATCH
    for _ in pool.map(decode, range(first, first + batches * BATCH)):
      pass

  return turn


def pipeline_turns(
  folder: pathlib.Path, crop_size: tuple[int, int], threads: int, batches: int
) -> Callable[[int], None]:
  """A turn that makes `batches` batches and no more: nothing runs on while the other side is timed."""
  counts = catalog.class_counts(folder, "train", label_spaces.CAMVID11.num_classes)
  drawn = pipeline.training_batches(
    LabelledExamples(folder, "train", class_counts=counts),
    TargetExamples(folder),
    pipeline.BatchSettings(
      batch_size=BATCH,
      crop_size=crop_size,
      seed=0,
      rare_class=RareClassSampling(min_pixels=3000, crop_min_pixels=1500),
    ),
  )

  def turn(number: int) -> None:
    iterator = pipeline.iterate(
      drawn[number * batches : (number + 1) * batches], num_threads=threads
    )
    count = sum(1 for _ in iterator)
    iterator.close()
    assert count == batches, count

  return turn


def measure(name: str, args: argparse.Namespace) -> None:
  settings = dict(SETS[name])
  crop_size = settings.pop("crop_size")
  pairs = draw_pairs(args.images, **settings)
  with tempfile.TemporaryDirectory() as data_dir:
    folder = base.prepare(Stored(pathlib.Path(data_dir), pairs))
    stored = [(image, image_files.encode_png(decode_label(label))) for image, label in pairs]
    sides = {
      "pipeline": pipeline_turns(folder, crop_size, args.threads, args.batches),
      "files": bare_decoding(pairs, args.threads, args.batches),
      "stored": bare_decoding(stored, args.threads, args.batches),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    cpu_seconds = dict.fromkeys(sides, 0.0)
    for number in range(args.turns + 1):
      for side, run in sides.items():
        start, cpu_start = time.perf_counter(), time.process_time()
        run(number)
        if number:  # the first turn warms up
          seconds[side].append(time.perf_counter() - start)
          cpu_seconds[side] += time.process_time() - cpu_start
  images = 2 * BATCH * args.batches
  speed = {side: images / statistics.median(turns) for side, turns in seconds.items()}
  kilobytes = np.mean([len(image) for image, _ in pairs]) / 1000
  print(
    f"{name}, {kilobytes:.0f} kB an image, {args.threads} threads: pipeline "
    f"{speed['pipeline']:.0f} images/s"
  )
  for side in ("files", "stored"):
    ratios = [d / p for p, d in zip(seconds["pipeline"], seconds[side], strict=True)]
    print(
      f"  bare decoding of the {side:6} {speed[side]:.0f} images/s, ratio "
      f"{speed['pipeline'] / speed[side]:.2f} (single turns {min(ratios):.2f} to {max(ratios):.2f}), "
      f"CPU time {cpu_seconds[side] / cpu_seconds['pipeline']:.2f}",
      flush=True,
    )


if __name__ == "__main__":
  host_memory.use_huge_pages()  # as `main.py` does
  arguments = parse_args()
  for data_set in SETS:
    measure(data_set, arguments)
