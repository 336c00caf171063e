"""The network of a finished run, without its training data.

run = load("runs/demo/self_training")
labels, confidence = run.predict(images)
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda import models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.data.datasets import catalog
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.data.roles import Role
from jax_uda.ops.resize import Size, size_of
from jax_uda.run import best_checkpoint, experiment, predict, record, settings, start
from jax_uda.run import config as config_lib
from jax_uda.run.frozen import RunCheckpoints
from jax_uda.step.inference import Inference, Prediction
from jax_uda.step.predictor import make_predictor


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
  """A trained network and what its outputs mean.

  Attributes:
    model: The network, without the heads that served training alone.
    variables: Its weights.
    classes: Names and palette of the classes.
    inference: How the run was evaluated on its target: windows, flips, scales, class weights.
    image_bound: (height, width) into which images are fitted before the network sees them, as in the run's
      evaluation; None: they keep their size.
    step: Number of training steps behind the weights.
    checkpoint: What the run calls the checkpoint: "last", or the best one, an oracle.
    mesh: Devices that share a batch.
  """

  model: models.Segmentor
  variables: Mapping[str, Any]
  classes: LabelSpace
  inference: Inference
  image_bound: Size | None
  step: int
  mesh: Mesh
  checkpoint: str = best_checkpoint.LAST

  @functools.cached_property
  def _predict(self) -> predict.Predict:
    """The prediction; the network is compiled once per size that it sees."""
    return functools.partial(make_predictor(self.model, self.mesh, self.inference), self.variables)

  @overload
  def predict(self, images: np.ndarray) -> Prediction: ...

  @overload
  def predict(self, images: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]: ...

  def predict(
    self, images: np.ndarray | Sequence[np.ndarray]
  ) -> Prediction | tuple[list[np.ndarray], list[np.ndarray]]:
    """The classes of images and how sure the network is of them.

    Args:
      images: uint8 RGB, either [B,H,W,3] or a list of arrays [H,W,3] of any sizes.

    Returns:
      Labels, uint8 train ids [B,H,W], and confidences, float32 in [0, 1], of the same shape; for a list two
      lists of arrays [H,W], one per image.

    Raises:
      ValueError: An array is no uint8 image.
    """
    for image in [images] if isinstance(images, np.ndarray) else images:
      _check_image(image, ndim=4 if isinstance(images, np.ndarray) else 3)
    if isinstance(images, np.ndarray):
      return self._predict_batch(images)
    predictions = [self._predict_batch(image[None]) for image in images]
    labels = [prediction.label[0] for prediction in predictions]
    return labels, [prediction.confidence[0] for prediction in predictions]

  def _predict_batch(self, images: np.ndarray) -> Prediction:
    """Predicts images [B,H,W,3] at their own size."""
    fitted = np.stack([rescale.fit(image, self.image_bound) for image in images])
    return self._predict(fitted, size_of(images))


def load(
  folder: str | pathlib.Path,
  *,
  network: Literal["student", "teacher"] = "student",
  checkpoint: Literal["reported", "last", "best_on_target"] = "reported",
  mesh: Mesh | None = None,
) -> TrainedModel:
  """Loads the network of a finished run; its training data are not needed.

  Args:
    folder: Folder of a run or, for a recipe with stages, its workdir: then of the stage trained last.
    network: Which of the run's networks.
    checkpoint: Which of its checkpoints: the one that it reports, the last, or the best on the target.
    mesh: Devices that share a batch; one if not given.

  Raises:
    ValueError: There is no such run, or it has no such checkpoint.
  """
  run = _run_folder(paths.expanded(folder, "folder"))
  config = _with_tuples(record.read_config(run))
  mesh = mesh_lib.data_mesh(1) if mesh is None else mesh
  classes = record.read_classes(run) or record.Classes(_classes_of_config(config, run), None, None)
  with registry.within("config"):
    # A run of an earlier version lacks what was added to the defaults since.
    evaluation = settings.evaluation_of(config_lib.default().eval.to_dict() | config["eval"])
    dtype = experiment.dtype_of(config["compute_dtype"], mesh)
    num_classes = classes.label_space.num_classes
    model = experiment.build_model(config["model"], num_classes, dtype)
  sharding = mesh_lib.replicated(mesh)
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  template = {
    "step": place(jax.ShapeDtypeStruct((), jnp.int32)),
    network: jax.tree.map(place, _abstract_variables(model, config["data"]["crop_size"])),
  }
  report = None if checkpoint == "reported" else checkpoint
  saved_in, title = best_checkpoint.find(run, report)
  if checkpoint == best_checkpoint.BEST and title != best_checkpoint.TITLES[checkpoint]:
    raise ValueError(f"{run} kept no best checkpoint; train with config.report = 'best_on_target'.")
  with RunCheckpoints(run, None, saved_in) as checkpoints:
    saved = checkpoints.restore_part(template)
  return TrainedModel(
    model=model,
    variables=saved[network],
    classes=classes.label_space,
    inference=evaluation.inference,
    image_bound=classes.image_bound,
    step=int(saved["step"]),
    checkpoint=title,
    mesh=mesh,
  )


def _check_image(image: Any, ndim: int) -> None:
  shape = "[B,H,W,3]" if ndim == 4 else "[H,W,3]"
  array = np.asarray(image)
  if array.ndim != ndim or array.shape[-1] != 3 or array.dtype != np.uint8:
    raise ValueError(
      f"images must be uint8 {shape}, or a list of uint8 [H,W,3], not {array.dtype} "
      f"{list(array.shape)}"
    )


def _run_folder(folder: pathlib.Path) -> pathlib.Path:
  """The folder of the run: `folder` itself, or that of its stage that was trained last."""
  is_run = lambda path: (path / "config.json").is_file() and start.has_checkpoints(path)
  if is_run(folder):
    return folder
  stages = [path for path in folder.glob("*") if path.is_dir() and is_run(path)]
  if not stages:
    raise ValueError(
      f"no run with checkpoints in {folder}; train there first, or correct the folder."
    )
  predecessors = {record.read_config(path).get("init_from", "") for path in stages}
  last = [path for path in stages if path.name not in predecessors] or stages
  return max(last, key=lambda path: (path / "config.json").stat().st_mtime)


def _classes_of_config(config: Mapping[str, Any], run: pathlib.Path) -> LabelSpace:
  """The classes of the source's data set, for a run that has not recorded them."""
  data_dir = paths.as_path(config["data"]["dir"], "config.data.dir")
  try:
    return catalog.find_builder(config["data"]["source"], data_dir, Role.SOURCE).label_space
  except (ValueError, OSError) as error:
    raise ValueError(
      f"{run} has no {record.CLASSES}, and the classes cannot be taken from its data: {error}"
    ) from error


def _abstract_variables(model: models.Segmentor, image_size: Size) -> dict[str, Any]:
  """Shapes of the network's variables."""
  images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
  init = lambda key, images: model.init(key, images, train=False, use_running_average=True)
  return dict(jax.eval_shape(init, jax.random.key(0), images))


def _with_tuples(value: Any) -> Any:
  """A value from JSON with tuples instead of lists, as modules want them."""
  if isinstance(value, dict):
    return {name: _with_tuples(item) for name, item in value.items()}
  return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value
