"""Disk and speed of the two forms in which a data set is stored (`data.store`), side by side.

  python benchmarks/stores.py [--images 16] [--threads 2] [--turns 5]
  python benchmarks/stores.py --table [--images 6]

Draws pairs of GTA5's true size, 1052x1914, with the grain of a photograph, and prepares them once per form
at each size: 1407x2560 and 704x1280, as the recipes of crops of 1024 and of 512 pixels have them. Prints MB per
pair as written and as estimated before, images/s of training batches of 2 + 2 (rare class sampling, nothing
kept in memory; medians of turns that alternate between the forms), and CPU time per image, which other load
on the machine disturbs less. With --table, estimates for the public data sets, from images drawn at their
sizes.
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
# Data set -> size of its images, numbers of them for training and for evaluation, and sizes in recipes.
PUBLIC = {
  "gta5": (SIZE, (24_966, 500), ((1440, 2560), (720, 1280))),
  "synthia": ((760, 1280), (9_400, 188), ((1520, 2560), (760, 1280))),
  "cityscapes": ((1024, 2048), (2_975, 500), ((1024, 2048), (512, 1024))),
  "dark_zurich": ((1080, 1920), (2_416, 50), ((1080, 1920), (540, 960))),
  "acdc": ((1080, 1920), (1_600, 406), ((1080, 1920), (540, 960))),
}
SIZES = {(1440, 2560): (1024, 1024), (720, 1280): (512, 512)}  # bound -> crop
BATCH = 2


def draw(root: pathlib.Path, number: int, size: tuple[int, int] = SIZE) -> None:
  """Writes pairs in GTA5's folders."""
  ids = np.array([np.argmax(c == label_spaces.CITYSCAPES_IDS) for c in range(19)] + [0], np.uint8)
  train_ids = label_spaces.translation(label_spaces.CAMVID11, label_spaces.CITYSCAPES19)
  for folder in ("images", "labels"):
    (root / folder).mkdir(parents=True)
  for index in range(number):
    small = (size[0] // 4, size[1] // 4 + 1)
    image, label, _ = streets.draw("day", 0, index, small)
    enlarged = lambda array: np.repeat(np.repeat(array, 4, 0), 4, 1)[: size[0], : size[1]]
    image = cv2.GaussianBlur(enlarged(image), (0, 0), 2)
    grain = np.random.default_rng(index).normal(0, GRAIN, image.shape)
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    label = np.minimum(train_ids[enlarged(label)], 19)
    (root / f"images/{index:05d}.png").write_bytes(image_files.encode_png(image))
    (root / f"labels/{index:05d}.png").write_bytes(image_files.encode_png(ids[label]))


def print_table(root: pathlib.Path, number: int) -> None:
  """Prints a Markdown table of the disk that the public data sets take."""
  print("| data set | images | size | resized, GB | original, GB |\n|---|---|---|---|---|")
  for name, (size, counts, bounds) in PUBLIC.items():
    draw(root / name, number, size)
    for bound in bounds:
      total = {}
      for store in ("resized", "original"):
        spec = dict(name="gta5", path=str(root / name), size=bound, store=store)
        builder = catalog.find_builder(spec, root / "prepared", Role.SOURCE)
        assert isinstance(builder, FromFiles)
        pairs = builder.settings.pairs["train"]
        per_pair = [
          stores.estimate(builder, {split: pairs}) / len(pairs) for split in ("train", "val")
        ]
        total[store] = sum(each * count for each, count in zip(per_pair, counts, strict=True)) / 1e9
      cells = [name, f"{counts[0]:,} + {counts[1]:,}", f"{bound[0]}x{bound[1]}"]
      cells += [f"{gigabytes:.1f}" for gigabytes in total.values()]
      print(f"| {' | '.join(cells)} |", flush=True)


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
  cpu = dict.fromkeys(turns, 0.0)
  for turn in range(args.turns + 1):
    for store, drawn in turns.items():
      part = drawn[turn * args.batches : (turn + 1) * args.batches]
      start, cpu_start = time.perf_counter(), time.process_time()
      iterator = batching.iterate(part, num_threads=args.threads)
      count = sum(1 for _ in iterator)
      iterator.close()
      if turn:  # the first turn warms up
        speeds[store].append(2 * BATCH * count / (time.perf_counter() - start))
        cpu[store] += time.process_time() - cpu_start
  images = 2 * BATCH * args.batches * args.turns
  for store, line in lines.items():
    speed = statistics.median(speeds[store])
    print(
      f"{size}, {store}: {line}, read at {speed:.1f} images/s, {1000 * cpu[store] / images:.0f} ms of CPU "
      "time per image",
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
  parser.add_argument(
    "--table", action="store_true", help="estimates for the public data sets alone"
  )
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    if arguments.table:
      print_table(place, arguments.images)
      raise SystemExit
    draw(place / "gta5", arguments.images)
    of_files = sum(file.stat().st_size for file in (place / "gta5/images").iterdir())
    print(f"image files: {of_files / arguments.images / 1e6:.2f} MB per image")
    for bound in SIZES:
      measure(place, bound, arguments)
