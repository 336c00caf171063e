"""Loads a trained network: of a finished run, of an exported file, of an imported checkpoint."""

import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jax_uda import models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import catalog
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.roles import Role
from jax_uda.models import weights
from jax_uda.models.weights import safetensors_file
from jax_uda.ops.resize import Size
from jax_uda.run import (
  best_checkpoint,
  changes,
  classes_file,
  experiment,
  model_text,
  record,
  saved_config,
  settings,
  start,
)
from jax_uda.run import config as config_lib
from jax_uda.run.classes_file import Classes
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.frozen import RunCheckpoints
from jax_uda.run.model_text import ModelText
from jax_uda.run.trained_model import TrainedModel

SIDE = (
  128  # pixels of the image with which the network of a file is traced; HRDA needs more than 64
)
ENDING = ".safetensors"


def load(
  source: str | pathlib.Path,
  *,
  network: Literal["student", "teacher"] = "student",
  checkpoint: Literal["reported", "last", "best_on_target"] = "reported",
  stage: str = "",
  evaluation: Mapping[str, str] | None = None,
  mesh: Mesh | None = None,
) -> TrainedModel:
  """Loads a trained network; its training data are not needed.

  Args:
    source: Folder of a run or, for a recipe with stages, its workdir. Or a file: `student.safetensors` of
      `jax-uda export`, or what `jax-uda import-weights` has written of a whole model.
    network: Which of the run's networks; a file has one.
    checkpoint: Which of the run's checkpoints: the one that it reports, the last, or the best on the target.
    stage: Which of the run's stages; empty: the one that was trained last.
    evaluation: Fields of the config group `eval` and their new values as texts, e.g. `{"flip": "true"}`; the
      others are those of the run.
    mesh: Devices that share a batch; one if not given.

  Raises:
    ValueError: There is no such run or file, it has no such checkpoint or stage, or the file does not say
      which network it is of.
  """
  path = paths.expanded(source, "source")
  mesh = mesh_lib.data_mesh(1) if mesh is None else mesh
  if path.suffix == ENDING or path.is_file():
    if stage:
      raise ValueError(
        f"--stage={stage} is for the folder of a run; {path} is a file with one network."
      )
    return _from_file(path, evaluation or {}, mesh)
  run = run_folder(path, stage)
  config = saved_config.with_tuples(record.read_config(run))
  text = ModelText(
    config["model"], config["eval"], _classes_of(run, config), config["compute_dtype"]
  )
  model, inference, batch_size = _build(text, evaluation or {}, mesh)
  saved_in, title = best_checkpoint.find(run, None if checkpoint == "reported" else checkpoint)
  if checkpoint == best_checkpoint.BEST and title != best_checkpoint.TITLES[checkpoint]:
    raise ValueError(f"{run} kept no best checkpoint; train with config.report = 'best_on_target'.")
  sharding = mesh_lib.replicated(mesh)
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  template = {
    "step": place(jax.ShapeDtypeStruct((), jnp.int32)),
    network: jax.tree.map(place, abstract_variables(model, config["data"]["crop_size"])),
  }
  with RunCheckpoints(run, None, saved_in) as checkpoints:
    saved = checkpoints.restore_part(template)
  text = text._replace(step=int(saved["step"]), network=network, checkpoint=title)
  return _finished(text, model, saved[network], inference, batch_size, mesh, run)


def _from_file(path: pathlib.Path, evaluation: Mapping[str, str], mesh: Mesh) -> TrainedModel:
  """The network of a weight file that describes it."""
  if path.suffix != ENDING:
    raise ValueError(
      f"{path} is neither the folder of a run nor a {ENDING} file. Weights of others are imported first: "
      f"jax-uda import-weights {path} --encoder=… --decoder=… --out=weights."
    )
  if not path.is_file():
    raise ValueError(f"{path}: there is no such file.")
  weights.read(path, finite=False)  # says what is wrong with a file that is damaged
  text = model_text.parse(safetensors_file.read_metadata(path), path)
  model, inference, batch_size = _build(text, evaluation, mesh)
  filled, loaded = weights.load(abstract_variables(model, (SIDE, SIDE)), path)
  if missing := [*loaded.untouched, *loaded.left_out]:
    raise ValueError(f"{path} lacks weights of its network: {', '.join(missing[:4])}.")
  variables = jax.device_put(filled, mesh_lib.replicated(mesh))
  return _finished(text, model, variables, inference, batch_size, mesh, None)


def _finished(
  text: ModelText,
  model: models.Segmentor,
  variables: Any,
  inference: Any,
  batch_size: int,
  mesh: Mesh,
  folder: pathlib.Path | None,
) -> TrainedModel:
  classes = text.classes
  return TrainedModel(
    model=model,
    variables=variables,
    classes=classes.label_space,
    inference=inference,
    image_bound=classes.image_bound,
    step=text.step,
    mesh=mesh,
    checkpoint=text.checkpoint,
    network=text.network,
    folder=folder,
    reading=classes.reading or Reading(),
    batch_size=batch_size,
    image_sizes=(classes.image_size,) if classes.image_size else (),
    settings=text.model,
    compute_dtype=text.compute_dtype,
  )


def _build(
  text: ModelText, evaluation: Mapping[str, str], mesh: Mesh
) -> tuple[models.Segmentor, Any, int]:
  """The network that a text describes, how it predicts, and in which batches."""
  num_classes = text.classes.label_space.num_classes
  with registry.within("config"):
    # A run of an earlier version lacks what was added to the defaults since.
    group = ConfigDict(config_lib.default().eval.to_dict() | dict(text.evaluation))
    for field, value in evaluation.items():
      with registry.within("eval"):
        changes.set_from_text(group, field, value, accepts=lambda path: False)
    settings_of_eval = settings.evaluation_of(group.to_dict())
    with registry.within("eval"):
      settings_of_eval.inference.check_classes(num_classes)
    dtype = experiment.dtype_of(text.compute_dtype, mesh)
    model = experiment.build_model(text.model, num_classes, dtype)
  return model, settings_of_eval.inference, settings_of_eval.batch_size


def run_folder(folder: pathlib.Path, stage: str = "") -> pathlib.Path:
  """The folder of a run: `folder` itself, or that of its stage, the one that was trained last.

  Raises:
    ValueError: There is no run with checkpoints, or no such stage.
  """
  is_run = lambda path: (path / saved_config.CONFIG).is_file() and start.has_checkpoints(path)
  if is_run(folder) and not stage:
    return folder
  if not folder.is_dir():
    raise ValueError(f"no run with checkpoints in {folder}: there is no such folder.")
  stages = {path.name: path for path in folder.glob("*") if path.is_dir() and is_run(path)}
  if stage:
    if stage not in stages:
      known = f" Stages there: {', '.join(sorted(stages))}." if stages else ""
      raise SettingError("stage", f"= {stage!r} is no trained stage in {folder}.{known}")
    return stages[stage]
  if not stages:
    raise ValueError(
      f"no run with checkpoints in {folder}; train there first, or correct the folder."
    )
  if (folder / saved_config.RECIPE).is_file():
    in_order = [name for name in saved_config.read(folder / saved_config.RECIPE).stages]
    if trained := [name for name in in_order if name in stages]:
      return stages[trained[-1]]
  return _last_of_unordered(stages)


def _last_of_unordered(stages: Mapping[str, pathlib.Path]) -> pathlib.Path:
  """The last stage of a run of an earlier version: no other begins with it, and it adapts."""
  configs = {name: record.read_config(path) for name, path in stages.items()}
  predecessors = {config.get("init_from", "") for config in configs.values()}

  def rank(name: str) -> tuple[bool, bool, float]:
    method = configs[name].get("method", {}).get("name")
    changed = (stages[name] / saved_config.CONFIG).stat().st_mtime  # of a copy, it says little
    return name not in predecessors, method != "source_only", changed

  return stages[max(stages, key=rank)]


def _classes_of(run: pathlib.Path, config: Mapping[str, Any]) -> Classes:
  """The classes of a run; what a run of an earlier version has not recorded comes from its data."""
  classes = classes_file.read(run)
  if classes is None:
    return Classes(_builder(run, config, "source").label_space, None, None)
  target = config["data"]["target"]
  if classes.reading is None and (target.get("bands") or target.get("value_range")):
    return classes._replace(reading=_builder(run, config, "target").reading)
  return classes


def _builder(run: pathlib.Path, config: Mapping[str, Any], domain: str) -> Any:
  data_dir = paths.as_path(config["data"]["dir"], "config.data.dir")
  role = Role.SOURCE if domain == "source" else Role.TARGET
  try:
    return catalog.find_builder(config["data"][domain], data_dir, role)
  except (ValueError, OSError) as error:
    raise ValueError(
      f"{run} has no {classes_file.FILE} that says all, and the rest cannot be taken from its data: {error}"
    ) from error


def abstract_variables(model: models.Segmentor, image_size: Size) -> dict[str, Any]:
  """Shapes of the network's variables."""
  images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
  init = lambda key, images: model.init(key, images, train=False, use_running_average=True)
  return dict(jax.eval_shape(init, jax.random.key(0), images))
