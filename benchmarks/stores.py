"""Disk and speed of the two forms in which a data set is stored (`data.store`), side by side.

  python benchmarks/stores.py [--images 24] [--threads 2] [--turns 6]

Draws pairs of GTA5's true size, 1052x1914, with the grain that makes a PNG as long as GTA5's (2.3 MB), and
prepares them once per form at each size: 1407x2560 and 704x1280, as the recipes of crops of 1024 and of 512
pixels have them. Prints MB per pair as written and as estimated before, and images/s of training batches of
2 + 2 (rare class sampling, nothing kept in memory), medians of turns that alternate between the forms.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import cv2
import numpy as np

from jax_uda.cli import host_memory
from jax_uda.data import label_spaces, streets
from jax_uda.data.datasets import base, catalog, image_files, stores
from jax_uda.data.datasets.from_files import FromFiles
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExamples
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.roles import Role

SIZE = (1052, 1914)
GRAIN = 1.25  # standard deviation of the noise
SIZES = {(1440, 2560): (1024, 1024), (720, 1280): (512, 512)}  # bound -> crop
BATCH = 2


def draw(root: pathlib.Path, number: int) -> None:
  """Writes pairs in GTA5's folders."""
  ids = np.array([np.argmax(c == label_spaces.CITYSCAPES_IDS) for c in range(19)] + [0], np.uint8)
  train_ids = label_spaces.translation(label_spaces.CAMVID11, label_spaces.CITYSCAPES19)
  for folder in ("images", "labels"):
    (root / folder).mkdir(parents=True)
  for index in range(number):
    small = (SIZE[0] // 4, SIZE[1] // 4 + 1)
    image, label, _ = streets.draw("day", 0, index, small)
    enlarged = lambda array: np.repeat(np.repeat(array, 4, 0), 4, 1)[: SIZE[0], : SIZE[1]]
    image = cv2.GaussianBlur(enlarged(image), (0, 0), 2)
    grain = np.random.default_rng(index).normal(0, GRAIN, image.shape)
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    label = np.minimum(train_ids[enlarged(label)], 19)
    (root / f"images/{index:05d}.png").write_bytes(image_files.encode_png(image))
    (root / f"labels/{index:05d}.png").write_bytes(image_files.encode_png(ids[label]))


def measure(root: pathlib.Path, size: tuple[int, int], args: argparse.Namespace) -> None:
  turns, lines = {}, {}
  for store in ("resized", "original"):
    spec = dict(name="gta5", path=str(root / "gta5"), size=size, store=store)
    builder = catalog.find_builder(spec, root / "prepared", Role.SOURCE)
    assert isinstance(builder, FromFiles)
    pairs = builder.settings.pairs
    estimate = stores.estimate(builder, pairs)
    start = time.perf_counter()
    folder = base.prepare(builder)
    seconds = time.perf_counter() - start
    number = sum(map(len, pairs.values()))
    written = sum(file.stat().st_size for file in folder.glob("*array_record*"))
    counts = catalog.class_counts(folder, "train", 19)
    examples = LabelledExamples(folder, "train", class_counts=counts)
    settings = batching.BatchSettings(
      batch_size=BATCH, crop_size=SIZES[size], seed=0, rare_class=RareClassSampling()
    )
    turns[store] = batching.training_batches(examples, TargetExamples(folder), settings)
    lines[store] = (
      f"{written / number / 1e6:.2f} MB per pair (estimated {estimate / number / 1e6:.2f}), prepared at "
      f"{number / seconds:.1f} images/s"
    )
  speeds = {store: [] for store in turns}
  for turn in range(args.turns + 1):
    for store, drawn in turns.items():
      part = drawn[turn * args.batches : (turn + 1) * args.batches]
      start = time.perf_counter()
      iterator = batching.iterate(part, num_threads=args.threads)
      count = sum(1 for _ in iterator)
      iterator.close()
      if turn:  # the first turn warms up
        speeds[store].append(2 * BATCH * count / (time.perf_counter() - start))
  for store, line in lines.items():
    print(
      f"{size}, {store}: {line}, read at {statistics.median(speeds[store]):.1f} images/s",
      flush=True,
    )


if __name__ == "__main__":
  host_memory.use_huge_pages()  # as `main.py` does
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--images", type=int, default=24, help="pairs that are drawn")
  parser.add_argument("--threads", type=int, default=2, help="threads that make batches")
  parser.add_argument("--turns", type=int, default=6, help="timed turns of each form")
  parser.add_argument("--batches", type=int, default=8, help="batches in a turn")
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    draw(place / "gta5", arguments.images)
    of_files = sum(file.stat().st_size for file in (place / "gta5/images").iterdir())
    print(f"image files: {of_files / arguments.images / 1e6:.2f} MB per image")
    for bound in SIZES:
      measure(place, bound, arguments)
