"""Pseudo-labels of all training images of the target, written once by a trained network (SPCL).

A first pass over the images finds the threshold of each class, the median of its confidences; a second
pass writes the labels of the pixels that reach it. `data.pipeline.stored_labels` reads them.
"""

import dataclasses
import functools
import math
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax_uda.common import files, registry, state_files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import batching, stored_labels
from jax_uda.data.pipeline.examples import Example, Selection, sizes_of
from jax_uda.ops import canvas, resize
from jax_uda.ops.pixels import to_unit
from jax_uda.run import (
  best_checkpoint,
  experiment,
  frozen,
  label_thresholds,
  record,
  same_inputs,
  start,
)
from jax_uda.run import config as config_lib
from jax_uda.run import settings as settings_lib
from jax_uda.run.evaluation import forward
from jax_uda.run.settings import PseudoLabelSettings
from jax_uda.step.inference import Prediction, Size
from jax_uda.step.learner import Learner

# (images uint8 [B,H,W,3], size) -> labels and confidences [B,*size]
Predict = Callable[[np.ndarray, Size], Prediction]


def write_stage(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs or continues a stage with `task="pseudo_label"`; the network is that of `config.init_from`.

  Args:
    config: The config of the stage.
    workdir: Folder of the stage, where `thresholds.json` and `labels/` appear. Files that exist already
      are kept, unless the network or the settings have changed.

  Raises:
    ValueError: `config.init_from` is missing or has no checkpoint, or the folder is of another config.
  """
  with registry.within("config"):
    name = settings_lib.start_of(config).init_from or ""
  run = workdir.parent / name
  if not name or not start.has_checkpoints(run):
    raise SettingError(
      ("config", "init_from"),
      f"= {name!r} of the stage {workdir.name!r}, whose network is to label the target: "
      f"{start.without_checkpoints(name, workdir) if name else 'name that stage.'}",
    )
  record.check_config(config, workdir)
  _label(config, run, workdir)


def write_for_run(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Labels with the checkpoint that the run in `workdir` reports, into its folder `pseudo_labels`.

  Raises:
    ValueError: There is no checkpoint, or it is of another config.
  """
  if not start.has_checkpoints(workdir):
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  record.check_config(config, workdir)
  _label(config, workdir, workdir / "pseudo_labels")


def _label(config: config_lib.ConfigDict, run: pathlib.Path, folder: pathlib.Path) -> None:
  """Labels with the student of the checkpoint that `run` reports."""
  exp = experiment.build(config)
  same_inputs.check(config.data, exp.domains.identities, run)
  settings, target = exp.settings.pseudo_label, exp.domains.target_train
  state = exp.initial_state()
  checkpoint_folder, _ = best_checkpoint.find(run)
  with frozen.RunCheckpoints(run, None, checkpoint_folder) as checkpoints:
    saved = checkpoints.restore_part({"step": state.step, "student": state.variables("student")})
  folder.mkdir(parents=True, exist_ok=True)
  record.write(config, folder, saved["student"]["params"], exp.domains)
  origin = {
    "images": len(target),
    "names": target.names_digest,
    "run": run.name,
    "step": int(saved["step"]),
    "network": _fingerprint(saved["student"]),
    "cap": settings.cap,
    "label_size": list(settings.label_size or ()),
    "align_corners": settings.align_corners,
  }
  labeller = Labeller(
    predict=_predictor(exp.learner, saved["student"], align_corners=settings.align_corners),
    target=target,
    label_space=exp.domains.label_space,
    settings=settings,
    batch_size=exp.settings.evaluation.batch_size,
  )
  labeller.write(origin, folder)
  say(f"pseudo-labels of {origin['images']} target images: {folder}")


def _predictor(learner: Learner, variables: Any, *, align_corners: bool) -> Predict:
  """The network on whole images, whose logits are resized once: to the size of the labels.

  `Learner.predict` would resize them to the size of the image first, and then again. This happens here
  only to images that are padded for the network.
  """

  @functools.partial(
    jax.jit, static_argnames=("whole", "size"), out_shardings=mesh_lib.replicated(learner.mesh)
  )
  def run(
    variables: Any, images: jax.Array, whole: Size, size: Size
  ) -> tuple[jax.Array, jax.Array]:
    outputs = forward(learner.model, variables, to_unit(images), outputs=("decoder",))
    logits = outputs.decoded.logits
    if whole != resize.size_of(images):
      logits = resize.bilinear(logits, resize.size_of(images), align_corners)
      logits = logits[:, : whole[0], : whole[1]]
    logits = resize.bilinear(logits, size, align_corners)
    probability = jax.nn.softmax(logits)
    return jnp.argmax(probability, -1).astype(jnp.uint8), jnp.max(probability, -1)

  def predict(images: np.ndarray, size: Size) -> Prediction:
    size = (int(size[0]), int(size[1]))
    whole = resize.size_of(images)
    images = canvas.pad(images, learner.canvas(variables, whole, len(images)))
    label = lambda rows: run(variables, rows, whole, size)
    return Prediction(*mesh_lib.apply_to_rows(learner.mesh, label, images))

  return predict


@dataclasses.dataclass(frozen=True)
class Labeller:
  """Labels the target's training images.

  Attributes:
    predict: The network.
    target: The images.
    label_space: The classes.
    settings: Thresholds and sizes.
    batch_size: Images that are predicted together.
  """

  predict: Predict
  target: Sequence[Example]
  label_space: LabelSpace
  settings: PseudoLabelSettings
  batch_size: int

  def thresholds(self) -> dict[str, Any]:
    """The threshold of each class over the whole set at the images' size, and the bins' width."""
    settings, target, num_classes = self.settings, self.target, self.label_space.num_classes
    is_small = sum(map(math.prod, sizes_of(target))) <= settings.exact_pixels
    pixels, histogram = [], label_thresholds.empty_histogram(num_classes)
    for _, images in self._batches(range(len(target)), "thresholds"):
      labels, confidence = self.predict(images, images.shape[1:3])
      if is_small:
        pixels.append((confidence.ravel(), labels.ravel()))
      else:
        histogram = label_thresholds.add_pixels(histogram, confidence, labels)
    if is_small:
      confidence, labels = (np.concatenate(part) for part in zip(*pixels, strict=True))
      values = label_thresholds.median_thresholds(confidence, labels, num_classes, cap=settings.cap)
    else:
      values = label_thresholds.histogram_thresholds(histogram, cap=settings.cap)
    return {
      "bin_width": 0.0 if is_small else histogram.bin_width,
      "thresholds": dict(zip(self.label_space.names, values.tolist(), strict=True)),
    }

  def write(self, origin: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes the thresholds and label maps that `folder` lacks.

    Args:
      origin: What the labels depend on: images, network and settings. Labels of another origin are
        removed first.
      folder: Gets `thresholds.json` and `labels/`.
    """
    summary_path, labels_folder = folder / stored_labels.SUMMARY, folder / "labels"
    summary = stored_labels.read_summary(folder) if summary_path.is_file() else {}
    is_main = mesh_lib.is_main_process()
    if {key: summary.get(key) for key in origin} != origin:
      if is_main:
        shutil.rmtree(labels_folder, ignore_errors=True)
        summary_path.unlink(missing_ok=True)
      summary = origin | self.thresholds()
      if is_main:
        labels_folder.mkdir(parents=True)
        state_files.write_json(summary_path, summary)
    for place in (folder, labels_folder) if is_main else ():
      files.remove_unfinished(place)
    thresholds = np.array(list(summary["thresholds"].values()))
    path = functools.partial(stored_labels.label_path, folder)
    missing = [i for i in range(origin["images"]) if not path(i).is_file()]
    for indices, images in self._batches(missing, "pseudo-labels"):
      prediction = self.predict(images, self.settings.label_size or images.shape[1:3])
      for i, labels, confidence in zip(indices, *prediction, strict=True):
        if is_main:
          kept = label_thresholds.threshold_label(confidence, labels, thresholds)
          files.write_bytes_atomically(path(i), image_files.encode_png(kept))

  def _batches(
    self, indices: Sequence[int], title: str
  ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Indices and images [B,H,W,3] of the training set, with a progress bar."""
    images, done = Selection(self.target, indices, ("image",)), 0
    with tqdm(total=len(indices), desc=title, unit=" images", mininterval=0.5) as bar:
      for batch in batching.evaluation_batches(images, self.batch_size):
        number = len(batch["image"])
        yield indices[done : done + number], batch["image"]
        done += number
        bar.update(number)


def _fingerprint(tree: Any) -> str:
  """A checksum of all numbers."""
  value = 0
  for leaf in jax.tree.leaves(tree):
    value = zlib.crc32(np.asarray(leaf).tobytes(), value)
  return f"{value:08x}"
