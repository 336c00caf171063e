"""From a config to the objects of a run."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.data.datasets import catalog
from jax_uda.data.pipeline import batches, stored_labels
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.run import config as config_lib
from jax_uda.run import evaluation
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Method, Player, Task

DTYPES = {name: jnp.dtype(name) for name in ("float32", "bfloat16")}


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The parts of one run, built once from its config."""

  config: config_lib.ConfigDict
  mesh: Mesh
  domains: catalog.Domains
  task: Task
  model: models.Segmentor
  method: Method
  schedule: optax.Schedule
  optimizer: optax.GradientTransformation
  player: Player | None
  more_targets: Mapping[str, Examples]

  @property
  def validation(self) -> dict[str, Examples]:
    """The sets that scores are computed on: `target`, those of `config.eval.targets`, `source`."""
    sets = {"target": self.domains.target_val, **self.more_targets}
    return sets | {"source": self.domains.source_val}

  def train_step(self, phase_start: int = 0):
    """The jitted step from gate `phase_start` of the method on; it donates the state."""
    if phase_start in self._steps:
      return self._steps[phase_start]
    replicated = mesh_lib.replicated(self.mesh)
    step = train_step.make_train_step(
      self.model,
      self.method,
      self.optimizer,
      teacher_rule=registry.call(teacher.Rule, "ema", **self.config.ema),
      player=self.player,
      phase_start=phase_start,
    )
    self._steps[phase_start] = jax.jit(
      step, donate_argnums=0, out_shardings=(replicated, replicated)
    )
    return self._steps[phase_start]

  @functools.cached_property
  def _steps(self) -> dict[int, Callable]:
    """The steps that were asked for: what is traced is traced once."""
    return {}

  @functools.cached_property
  def _create(self) -> Callable[[], state.TrainState]:
    create = lambda: state.create(
      self.model,
      self.method,
      self.optimizer,
      image_size=tuple(self.config.data.crop_size),
      seed=self.config.seed,
      player=self.player,
    )
    return jax.jit(create, out_shardings=mesh_lib.replicated(self.mesh))

  def initial_state(self) -> state.TrainState:
    """The state before step 0, on the devices."""
    self.abstract_state()
    return self._create()

  def abstract_state(self) -> state.TrainState:
    """Shapes, dtypes and shardings of the state; nothing is compiled.

    Raises:
      ValueError: A group of `config.optimizer.groups` matches no parameter.
    """
    sharding = mesh_lib.replicated(self.mesh)
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    initial = jax.tree.map(place, self._create.eval_shape())
    optimizer.check_groups(initial.student["params"], _groups(self.config))
    return initial

  @functools.cached_property
  def predict(self) -> evaluation.Predict:
    """The jitted prediction of target images, for scores, pictures and files."""
    return self._make_predict(tuple(self.config.eval.class_weights))

  @functools.cached_property
  def predict_elsewhere(self) -> evaluation.Predict:
    """That of other sets: `config.eval.class_weights` is for the target."""
    return self._make_predict(()) if self.config.eval.class_weights else self.predict

  def _make_predict(self, class_weights: tuple[float, ...]) -> evaluation.Predict:
    return evaluation.make_predict(
      self.model,
      self.task,
      self.mesh,
      window=tuple(self.config.eval.window),
      stride=tuple(self.config.eval.stride),
      flip=self.config.eval.flip,
      scales=tuple(self.config.eval.scales),
      average=self.config.eval.average,
      align_corners=self.config.eval.align_corners,
      class_weights=class_weights,
    )

  def training_batches(self, stages: pathlib.Path | None = None):
    """This process's batches by step.

    Args:
      stages: Folder of `config.data.pseudo_labels`; not needed if that is empty or an absolute path.
    """
    data = self.config.data
    target = self.domains.target_train
    rare_class = None
    if data.rare_class:
      with registry.within("config", "data", "rare_class"):
        rare_class = registry.call(RareClassSampling, (), **data.rare_class)
    with registry.within("config", "data"):
      if data.pseudo_labels:
        folder = (stages or pathlib.Path()) / data.pseudo_labels
        target = stored_labels.PseudoLabelled(target, folder, data.pseudo_labels)
      settings = batches.BatchSettings(
        batch_size=self.config.batch_size,
        crop_size=tuple(data.crop_size),
        seed=self.config.seed,
        cat_max_ratio=data.cat_max_ratio,
        rare_class=rare_class,
        class_balanced=data.class_balanced,
        flip=data.flip,
        crop_target=data.crop_target,
        target_scale=tuple(data.target_scale) or None,
        target_margins=tuple(data.target_margins) or None,
      )
      return batches.training_batches(
        self.domains.source_train,
        target,
        settings,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )

  @property
  def title(self) -> str:
    """The method and what it is extended by."""
    method = self.config.method
    return " + ".join([method.name, *method.get("also", {})])

  def summary(self) -> str:
    """One line on what is about to run."""
    domains, model = self.domains, self.config.model
    return (
      f"{self.title}: {model.encoder} + {model.decoder}, {self.task.num_classes} classes, "
      f"{len(domains.source_train)} labelled source and {len(domains.target_train)} unlabelled target "
      f"images, batch {self.config.batch_size} + {self.config.batch_size} on {self.mesh.size} "
      f"{jax.devices()[0].platform} device{'s' if self.mesh.size > 1 else ''}"
    )


def _groups(config: config_lib.ConfigDict) -> tuple[optimizer.Group, ...]:
  return tuple(
    registry.call(optimizer.Group, "optimizer.groups", **group) for group in config.optimizer.groups
  )


def _check_fields(config: config_lib.ConfigDict) -> None:
  """Raises ValueError for fields that do not fit each other, before anything takes time."""
  for field, value in (
    ("num_steps", config.num_steps),
    ("checkpoint.keep", config.checkpoint.keep),
    ("eval.batch_size", config.eval.batch_size),
  ):
    if value is not None and value < 1:
      raise ValueError(f"config.{field} = {value} must be at least 1.")
  if config.stop_step > config.num_steps:
    raise ValueError(
      f"config.stop_step = {config.stop_step} lies after the end, config.num_steps = "
      f"{config.num_steps}; a recipe sets it per stage: config.stage.<name>.stop_step."
    )
  if not 0 <= config.ema.get("decay", 0) <= 1:
    raise ValueError(f"config.ema.decay = {config.ema.decay} must lie between 0 and 1.")
  size = tuple(config.data.crop_size)
  if len(size) != 2 or min(size) < 1:
    raise ValueError(f"config.data.crop_size = {size} must be (height, width) in pixels.")
  missing = set(config_lib.default().eval) - set(config.eval)
  if missing:
    raise ValueError(
      f"config.eval lacks {', '.join(sorted(missing))}: set its fields by config.eval.update(…)."
    )
  settings = {name: config.eval[name] for name in ("window", "stride", "scales", "average")}
  evaluation.check_settings(**settings)


def _build_schedule(config: config_lib.ConfigDict) -> optax.Schedule:
  settings = config.schedule.to_dict()
  name = settings.pop("name", "warmup_poly")
  function = registry.lookup(optimizer.SCHEDULES, name, "schedule.name")
  return registry.call(function, "schedule", num_steps=config.num_steps, **settings)


def _build_model(config: config_lib.ConfigDict, num_classes: int) -> models.Segmentor:
  dtype = registry.lookup(DTYPES, config.compute_dtype, "compute_dtype")
  return registry.call(models.build, "model", num_classes=num_classes, dtype=dtype, **config.model)


def build(config: config_lib.ConfigDict) -> Experiment:
  """Builds everything a run needs; prepares data sets that are not there yet.

  Raises:
    ValueError: A field of the config is unknown or does not fit the others; named in the message.
  """
  _check_fields(config)
  mesh = mesh_lib.data_mesh()
  mesh_lib.check_batch_size(config.batch_size, mesh)
  data_dir = paths.as_path(config.data.dir, "config.data.dir")
  with registry.within("config", "data"):
    domains = catalog.load_domains(
      config.data.source,
      config.data.target,
      data_dir=data_dir,
      cache_mbytes=config.data.cache_mbytes,
    )
  label_space = domains.label_space
  evaluation.check_class_weights(config.eval.class_weights, label_space.num_classes)
  with registry.within("config", "eval", "targets"):
    more_targets = catalog.load_evaluation(config.eval.targets, data_dir, label_space)
  model = _build_model(config, label_space.num_classes)
  task = Task(
    num_classes=label_space.num_classes,
    image_mean=model.image_mean,
    image_std=model.image_std,
    class_frequency=domains.class_frequency,
  )
  schedule = _build_schedule(config)
  method = methods.build(task, **config.method)
  heads = {name: head(dtype=DTYPES[config.compute_dtype]) for name, head in method.heads.items()}
  settings = config.optimizer.to_dict() | {
    "groups": _groups(config),
    "start_steps": method.start_steps,
  }
  return Experiment(
    config=config,
    mesh=mesh,
    domains=domains,
    task=task,
    model=model.clone(heads=flax.core.FrozenDict(heads)) if heads else model,
    method=method,
    schedule=schedule,
    optimizer=registry.call(optimizer.build, "optimizer", schedule, **settings),
    player=method.player(schedule) if method.player else None,
    more_targets=more_targets,
  )
