"""A soak: hours of training, evaluating, predicting and restarting in one process. Is it flat?

  python benchmarks/soak.py [--minutes 60] [--out soak.jsonl]

One run goes on, round after round: it trains some steps with evaluations and checkpoints, and stops; then
the same process evaluates it again, predicts images, exports weights, loads the run as a user of the library
does, and continues it. Every few seconds a thread writes a line of JSON with the memory, open files,
threads and child processes of this process, and with the bytes of the run's folder. The table at the end
compares the first quarter of the time with the last one, medians. Linux only.
"""

import argparse
import gc
import json
import os
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
from PIL import Image

import jax_uda as uda
from jax_uda.run import recipes, stages

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = ROOT / "tests" / "tiny_recipe.py"
SECONDS = 10.0  # between two lines
# What is measured, its unit, and the amount of a unit.
UNITS = {
  "resident": ("MiB", 2**20),
  "open_files": ("", 1),
  "threads": ("", 1),
  "children": ("", 1),
  "folder": ("KiB", 2**10),
  "files": ("", 1),
}


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--minutes", type=float, default=60.0)
  parser.add_argument("--steps", type=int, default=60, help="trained in a round")
  parser.add_argument("--method", default="dacs", help="a method of the tiny recipe")
  parser.add_argument("--out", default="soak.jsonl", help="file of the measurements")
  return parser.parse_args()


def measure(folder: pathlib.Path) -> dict[str, float]:
  """The numbers of `UNITS`, of this process and of a folder."""
  process = pathlib.Path("/proc/self")
  pages = int((process / "statm").read_text().split()[1])
  children = (task / "children" for task in (process / "task").iterdir())
  files = [path.stat().st_size for path in _files(folder)]
  return {
    "resident": pages * os.sysconf("SC_PAGE_SIZE"),
    "open_files": len(os.listdir(process / "fd")),
    "threads": len(os.listdir(process / "task")),
    "children": sum(len(path.read_text().split()) for path in children),
    "folder": sum(files),
    "files": len(files),
  }


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for root, _, names in os.walk(folder):
    yield from (path for path in (pathlib.Path(root, name) for name in names) if path.exists())


class Measurements:
  """A thread that measures until it is stopped."""

  def __init__(self, folder: pathlib.Path, out: pathlib.Path):
    """Measures this process and `folder`, and writes lines to `out`."""
    self.rows: list[dict[str, float]] = []
    self.round = 0
    self._folder, self._out, self._stop = folder, out, threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def _run(self) -> None:
    began = time.monotonic()
    with self._out.open("w") as file:
      while not self._stop.wait(SECONDS if self.rows else 0.0):
        try:
          measured = measure(self._folder)
        except OSError:  # a file or a thread that has just ended
          continue
        row = {"seconds": round(time.monotonic() - began, 1), "round": self.round} | measured
        self.rows.append(row)
        print(json.dumps(row), file=file, flush=True)

  def stop(self) -> None:
    """Ends the thread."""
    self._stop.set()
    self._thread.join()


def one_round(config, workdir: pathlib.Path, images: pathlib.Path) -> None:
  """Continues the run and does with it what its user does."""
  stages.train(config, workdir)
  stages.evaluate(config, workdir)
  stages.predict(config, workdir, images=str(images), suffix="", network="student", server="")
  stages.export_weights(config, workdir)
  run = uda.load(workdir)
  run.predict(np.zeros((1, 32, 48, 3), np.uint8))


def summarize(rows: list[dict[str, float]]) -> str:
  """A table of the first quarter and the last one."""
  quarter = max(1, len(rows) // 4)
  lines = ["| measured | first quarter | last quarter |", "|---|---|---|"]
  for name, (unit, amount) in UNITS.items():
    medians = (
      statistics.median(row[name] for row in part) / amount
      for part in (rows[:quarter], rows[-quarter:])
    )
    texts = (f"{median:.0f} {unit}".strip() for median in medians)
    lines.append(f"| {name.replace('_', ' ')} | {' | '.join(texts)} |")
  return "\n".join(lines)


def main() -> None:
  args = parse_args()
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    jax.config.update("jax_compilation_cache_dir", str(place / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    workdir, images = place / "run", place / "images"
    images.mkdir()
    for number in range(3):
      noise = np.random.default_rng(number).integers(0, 256, (32, 48, 3), np.uint8)
      Image.fromarray(noise).save(images / f"{number}.png")
    measurements = Measurements(workdir, pathlib.Path(args.out))
    end = time.monotonic() + 60 * args.minutes
    config = recipes.load(f"{RECIPE}:data_dir={place / 'data'},steps=1000000,method={args.method}")
    config.log_every_steps, config.checkpoint.every_steps = 10, 20
    config.eval.every_steps, config.views_every_steps = 30, 30
    while not measurements.round or time.monotonic() < end:
      measurements.round += 1
      config.stop_step = args.steps * measurements.round
      one_round(config, workdir, images)
      gc.collect()
    measurements.stop()
    print(f"{measurements.round} rounds of {args.steps} steps in {args.minutes:g} minutes")
    print(summarize(measurements.rows))


if __name__ == "__main__":
  main()
