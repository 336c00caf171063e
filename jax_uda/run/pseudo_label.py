"""Pseudo-labels of all training images of the target, written once by a trained network (SPCL).

A first pass finds the median confidence of each class, its threshold; a second writes the labels of the
pixels that reach it. `data.pseudo_labels` reads them.
"""

import functools
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.data.datasets import image_files
from jax_uda.data.pipeline import batches, stored_labels
from jax_uda.data.pipeline.examples import Example
from jax_uda.ops import resize
from jax_uda.ops.pixels import to_unit
from jax_uda.run import config as config_lib
from jax_uda.run import experiment, label_thresholds, record, start

# (images uint8 [B,H,W,3], size) -> confidence float32 and label uint8, both [B,*size]
Predict = Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray]]


class _Some(Sequence[Example]):
  """The examples with these indices."""

  def __init__(self, examples: Sequence[Example], indices: Sequence[int]):
    self._examples, self._indices = examples, indices

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> Example:
    return {"image": self._examples[self._indices[index]]["image"]}


def _make_predict(exp: experiment.Experiment, variables: Any) -> Predict:
  align_corners = exp.config.pseudo_label.align_corners

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(exp.mesh))
  def run(variables: Any, image: jax.Array, size: tuple[int, int]):
    outputs = exp.model.apply(
      variables, to_unit(image), train=False, use_running_average=True, parts=("decoder",)
    )
    probability = jax.nn.softmax(resize.bilinear(outputs.logits, size, align_corners))
    return jnp.max(probability, -1), jnp.argmax(probability, -1).astype(jnp.uint8)

  def predict(image: np.ndarray, size: tuple[int, int]):
    label = lambda image: run(variables, image, tuple(size))
    return mesh_lib.apply_to_rows(exp.mesh, label, image)

  return predict


def _batches(
  exp: experiment.Experiment, indices: Sequence[int], what: str
) -> Iterator[tuple[Sequence[int], np.ndarray]]:
  """Indices and images [B,H,W,3] of the target's training set, with a bar."""
  images = _Some(exp.domains.target_train, indices)
  done = 0
  with tqdm(total=len(indices), desc=what, unit=" images", mininterval=0.5) as bar:
    for batch in batches.evaluation_batches(images, exp.config.eval.batch_size):
      number = len(batch["image"])
      yield indices[done : done + number], batch["image"]
      done += number
      bar.update(number)


def _find_thresholds(exp: experiment.Experiment, predict: Predict) -> dict[str, Any]:
  """The thresholds [C] of the whole set at the images' size, and how they were found."""
  settings, target = exp.config.pseudo_label, exp.domains.target_train
  num_classes = exp.task.num_classes
  is_small = len(target) * np.prod(target[0]["image"].shape[:2]) <= settings.exact_pixels
  pixels, histogram = [], label_thresholds.empty_histogram(num_classes)
  for _, images in _batches(exp, range(len(target)), "thresholds"):
    found = predict(images, images.shape[1:3])
    if is_small:
      pixels.append([x.ravel() for x in found])
    else:
      histogram = label_thresholds.add_pixels(histogram, *found)
  if is_small:
    every = (np.concatenate(part) for part in zip(*pixels, strict=True))
    thresholds = label_thresholds.median_thresholds(*every, num_classes, cap=settings.cap)
  else:
    thresholds = label_thresholds.histogram_thresholds(histogram, cap=settings.cap)
  names = exp.domains.label_space.names
  return {
    "bin_width": 0.0 if is_small else histogram.bin_width,
    "thresholds": dict(zip(names, thresholds.tolist(), strict=True)),
  }


def _fingerprint(tree: Any) -> str:
  """A checksum of all numbers."""
  value = 0
  for leaf in jax.tree.leaves(tree):
    value = zlib.crc32(np.asarray(leaf).tobytes(), value)
  return f"{value:08x}"


def _write_bytes(path: pathlib.Path, content: bytes) -> None:
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_bytes(content)
  os.replace(temporary, path)


def _label_all(exp: experiment.Experiment, predict: Predict, about: dict, folder: pathlib.Path):
  """Writes what is missing in `folder` for the network that `about` describes."""
  summary, labels = folder / stored_labels.SUMMARY, folder / "labels"
  old = json.loads(summary.read_text()) if summary.is_file() else {}
  main = mesh_lib.is_main_process()
  if {key: old.get(key) for key in about} != about:
    if main:
      shutil.rmtree(labels, ignore_errors=True)  # of another network
      summary.unlink(missing_ok=True)
    old = about | _find_thresholds(exp, predict)
    if main:
      labels.mkdir(parents=True)
      files.write_atomically(summary, json.dumps(old, indent=2))
  thresholds = np.array(list(old["thresholds"].values()))
  path = functools.partial(stored_labels.label_path, folder)
  missing = [i for i in range(about["images"]) if not path(i).is_file()]
  for indices, images in _batches(exp, missing, "pseudo-labels"):
    found = predict(images, tuple(about["label_size"]) or images.shape[1:3])
    for i, confidence, label in zip(indices, *found, strict=True):
      if main:
        kept = label_thresholds.threshold_label(confidence, label, thresholds)
        _write_bytes(path(i), image_files.encode_png(kept))


def _label(config: config_lib.ConfigDict, run: pathlib.Path, folder: pathlib.Path) -> None:
  """Labels with the student of the newest checkpoint in `run`."""
  exp = experiment.build(config)
  state = exp.initial_state()
  with start.open_checkpoints(run) as checkpoints:
    found = checkpoints.restore_part({"step": state.step, "student": state.student})
  folder.mkdir(parents=True, exist_ok=True)
  record.write(config, folder, found["student"]["params"])
  about = {
    "images": len(exp.domains.target_train),
    "names": exp.domains.target_train.names_digest,
    "run": run.name,
    "step": int(found["step"]),
    "network": _fingerprint(found["student"]),
    "cap": config.pseudo_label.cap,
    "label_size": list(config.pseudo_label.label_size),
    "align_corners": config.pseudo_label.align_corners,
  }
  _label_all(exp, _make_predict(exp, found["student"]), about, folder)
  print(f"pseudo-labels of {about['images']} target images: {folder}", flush=True)


def write_stage(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs or continues a stage with `task="pseudo_label"`: the network is that of `config.init_from`.

  Args:
    config: Of the stage.
    workdir: Its folder, where `thresholds.json` and `labels/` appear. Files that are there already are
      kept, unless the network or the settings have changed.

  Raises:
    ValueError: `config.init_from` is missing or has no checkpoint, or the folder is of another config.
  """
  run = workdir.parent / config.init_from
  if not config.init_from or not start.has_checkpoints(run):
    raise ValueError(
      f"config.init_from = {config.init_from!r} of the stage {workdir.name!r}: no checkpoints in "
      f"{run}; run the stage whose network is to label the target first."
    )
  record.check_config(config, workdir)
  _label(config, run, workdir)


def write_for_run(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Labels with the newest checkpoint of the run in `workdir`, into its folder `pseudo_labels`.

  Raises:
    ValueError: There is no checkpoint, or it is of another config.
  """
  if not start.has_checkpoints(workdir):
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  record.check_config(config, workdir)
  _label(config, workdir, workdir / "pseudo_labels")
