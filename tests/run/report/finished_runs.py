"""Folders as two finished runs leave them, without training."""

import json
import pathlib
import types
from typing import Any, cast

import numpy as np

from jax_uda.data import label_spaces
from jax_uda.run import classes_file, config_diff, evaluation
from jax_uda.run import config as config_lib
from jax_uda.run.report import examples

SPACE = label_spaces.CAMVID11
SIZE = (24, 32)


def label(seed: int, *, wrong: float = 0.0) -> np.ndarray:
  """Stripes of classes, of which a share of the pixels is wrong; two ignored rows at the top."""
  rows, columns = np.indices(SIZE)
  truth = (rows // 6 + columns // 8 + seed) % SPACE.num_classes
  noise = np.random.default_rng(seed)
  mistaken = noise.random(SIZE) < wrong
  truth = np.where(mistaken, (truth + 1) % SPACE.num_classes, truth).astype(np.uint8)
  truth[:2] = 255 if not wrong else truth[:2]
  return truth


def write(folder: pathlib.Path, *, wrong: float, init_from: str = "") -> None:
  """Writes all files that the report reads of a run whose networks miss a share of the pixels."""
  folder.mkdir(parents=True)
  config = config_lib.default()
  config.method.name, config.init_from, config.num_steps = "dacs", init_from, 20
  (folder / "config.json").write_text(json.dumps(config_diff.to_plain(config)))
  kept, counts = [], np.zeros((SPACE.num_classes,) * 2, np.int64)
  for seed in range(3):
    truth, found = label(seed), label(seed, wrong=wrong)
    image = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    kept.append(examples.Example(f"<{seed}>.png", image, truth, {"student": found}))
    valid = truth != 255
    np.add.at(counts, (truth[valid], found[valid]), 1)
  examples.write(folder, kept)
  np.savez(folder / "confusion.npz", **{"target/student": counts})
  scores = evaluation.scores(counts, SPACE)
  results = {"step": 20, "checkpoint": "last", "target": {"student": scores}}
  (folder / "results.json").write_text(json.dumps(results))
  rows = [{"step": step, "loss": 1 / step, "images_per_second": 8.0} for step in (10, 20)]
  (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  (folder / "versions.json").write_text(json.dumps({"python": "3.12", "devices": ["cpu: cpu"]}))
  domains = types.SimpleNamespace(label_space=SPACE, target_val=[], image_bound=None, reading=None)
  classes_file.write(folder, cast(Any, domains))


def write_both(workdir: pathlib.Path) -> None:
  """Two stages: `source_only`, which misses much, and `adapted`, which misses less."""
  write(workdir / "source_only", wrong=0.4)
  write(workdir / "adapted", wrong=0.1, init_from="source_only")
