"""From a config to the objects of a run: a learner, the data, and settings."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, platform, registry
from jax_uda.data.datasets import catalog
from jax_uda.data.pipeline import batching, stored_labels
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExample
from jax_uda.data.roles import Role
from jax_uda.run import config as config_lib
from jax_uda.run import data_sets, optimizer_config
from jax_uda.run import settings as settings_lib
from jax_uda.run.settings import RunSettings
from jax_uda.step import optimizer
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task
from jax_uda.step.state import TrainState

DTYPES = {name: jnp.dtype(name) for name in ("float32", "bfloat16")}


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One run: what learns, from which data, and how long.

  Attributes:
    learner: Model, method, optimizer and teacher rule, with the compiled steps.
    domains: The labelled source and the unlabelled target.
    settings: Everything else that the config says of this run.
    parameter_groups: The optimizer's multipliers by parameter path.
    further_targets: Further validation sets of the target, by name.
  """

  learner: Learner
  domains: catalog.Domains
  settings: RunSettings
  parameter_groups: tuple[optimizer.Group, ...] = ()
  further_targets: Mapping[str, LabelledExamples] = dataclasses.field(default_factory=dict)

  @property
  def target_sets(self) -> dict[str, LabelledExamples]:
    """The validation sets of the target by name: `target` and those of `config.eval.targets`."""
    return {"target": self.domains.target_val, **self.further_targets}

  @property
  def validation_sets(self) -> dict[str, LabelledExamples]:
    """All validation sets by name: those of the target, then `source`."""
    return {**self.target_sets, "source": self.domains.source_val}

  @property
  def evaluated_sets(self) -> dict[str, LabelledExamples]:
    """The validation sets that `results.json` scores: all, or those of the target."""
    return self.validation_sets if self.settings.evaluation.source else self.target_sets

  def initial_state(self) -> TrainState:
    """The state before step 0 with random networks, on the devices."""
    return self.learner.init(self.settings.seed, self.settings.data.batches.crop_size)

  def abstract_state(self) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is compiled."""
    return self.learner.abstract_state(self.settings.data.batches.crop_size, self.settings.seed)

  def training_batches(self, stages: pathlib.Path | None = None) -> grain.MapDataset:
    """This process's rows of the training batches, by step.

    Args:
      stages: The folder in which the stages of a recipe lie; needed for `pseudo_labels` with a relative
        path.

    Raises:
      ValueError: The files of the pseudo-labels are missing, or a batch cannot be drawn.
    """
    data = self.settings.data
    target: Sequence[TargetExample] = self.domains.target_train
    with registry.within("data"):
      if data.pseudo_labels:
        folder = (stages or pathlib.Path()) / data.pseudo_labels
        target = stored_labels.PseudoLabelled(target, folder, data.pseudo_labels)
      return batching.training_batches(
        self.domains.source_train,
        target,
        data.batches,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )

  def image_names(self, step: int, stages: pathlib.Path | None = None) -> str:
    """The images of a training batch by domain, for a message: their files, or their numbers.

    Args:
      step: The number of the batch; only this process's rows are named.
      stages: As for `training_batches`.
    """
    source, target = _Noting(self.domains.source_train), _Noting(self.domains.target_train)
    domains: Any = dataclasses.replace(
      self.domains, source_train=cast(Any, source), target_train=cast(Any, target)
    )
    _ = dataclasses.replace(self, domains=domains).training_batches(stages)[step]
    return f"the source images {source}, and the target images {target}"


class _Noting:
  """Images that note which of them are asked for."""

  def __init__(self, images: Any):
    self._images, self._numbers = images, dict[int, None]()

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> Any:
    self._numbers[int(index)] = None
    return self._images[index]

  def __getattr__(self, name: str) -> Any:
    return getattr(self._images, name)

  def __str__(self) -> str:
    names = [str(name) for name in self._images.names]
    show = lambda number: ascii(names[number])[1:-1] if names else f"no. {number}"
    return ", ".join(map(show, self._numbers))


def build(config: config_lib.ConfigDict) -> Experiment:
  """Builds everything that a run needs; prepares data sets that are not there yet.

  Args:
    config: The config of one run or of one stage.

  Raises:
    ValueError: A field of the config is unknown or does not fit the others; the message names it.
  """
  with registry.within("config"):
    config = config.copy_and_resolve_references().unlock()
    config_lib.fill_data_sets(config)
    settings = settings_lib.from_config(config)
    fields: dict[str, Any] = config.to_dict()
    mesh = mesh_lib.mesh_of(fields["devices"], fields["fsdp"])
    mesh_lib.check_batch_size(settings.batch_size, mesh)
    domains, further_targets = _load_data(fields)
    num_classes = domains.label_space.num_classes
    with registry.within("eval"):
      settings.evaluation.inference.check_classes(num_classes)
    learner = build_learner(config, domains.class_frequency, mesh)
    groups = optimizer_config.groups_of(fields["optimizer"], learner.model)
  return Experiment(learner, domains, settings, groups, further_targets)


def dtype_of(name: str, mesh: Mesh) -> jnp.dtype:
  """The compute dtype that `config.compute_dtype` names.

  Args:
    name: One of `DTYPES`, or "auto": bfloat16 on accelerators, float32 on CPUs.
    mesh: The devices that compute.

  Raises:
    SettingError: The name is unknown.
  """
  dtypes = DTYPES | {"auto": DTYPES[platform.automatic_dtype(mesh.devices.flat[0].platform)]}
  return registry.lookup(dtypes, name, "compute_dtype")


def build_learner(
  config: config_lib.ConfigDict, class_frequency: tuple[float, ...], mesh: Mesh
) -> Learner:
  """Builds what learns; neither data nor weights are looked at.

  Args:
    config: The config of one run or of one stage.
    class_frequency: Share of each of the C classes in the source's labelled pixels.
    mesh: Devices that share a batch.

  Raises:
    SettingError: A field is unknown or does not fit the others; its path begins below the config.
  """
  fields: dict[str, Any] = config.to_dict()
  dtype = dtype_of(fields["compute_dtype"], mesh)
  model = build_model(fields["model"], len(class_frequency), dtype)
  task = Task(
    num_classes=len(class_frequency),
    class_frequency=class_frequency,
    mean_color=model.image_mean,
  )
  return Learner(
    model,
    methods.build(task, **fields["method"]),
    schedule=optimizer_config.schedule_of(fields["schedule"], fields["num_steps"]),
    optimizer=optimizer_config.optimizer_of(fields["optimizer"], model),
    teacher_rule=optimizer_config.teacher_rule_of(fields["ema"]),
    mesh=mesh,
    skip_nonfinite=fields["on_nonfinite"] == "skip",
    by_groups=fields["gradient_by_groups"],
  )


def summary(exp: Experiment) -> str:
  """One line on what is about to run."""
  settings, domains, mesh = exp.settings, exp.domains, exp.learner.mesh
  return (
    f"{settings.title}: {settings.encoder} + {settings.decoder}, "
    f"{domains.label_space.num_classes} classes, "
    f"{len(domains.source_train)} labelled source and {len(domains.target_train)} unlabelled target "
    f"images, batch {settings.batch_size} + {settings.batch_size} on {mesh.size} "
    f"{jax.devices()[0].platform} device{'s' if mesh.size > 1 else ''}"
  )


def build_model(
  group: Mapping[str, Any], num_classes: int, dtype: Any = jnp.float32
) -> models.Segmentor:
  """The network that the config group `model` describes, without the heads of a method.

  Raises:
    SettingError: A name or an option is unknown; the path begins with "model".
  """
  with registry.within("model"):
    return registry.call(models.build, (), num_classes=num_classes, dtype=dtype, **group)


def _load_data(
  fields: Mapping[str, Any],
) -> tuple[catalog.Domains, dict[str, LabelledExamples]]:
  """The two domains, and the further validation sets of the target."""
  data = fields["data"]
  with registry.within("data"):
    data_dir = paths.as_path(data["dir"], "dir")
  specs, store = data_sets.evaluated_targets(data, fields["eval"]["targets"]), data["store"]
  beside = []
  for name in specs:
    with registry.within("eval", "targets", name):
      beside.append(catalog.find_builder(specs[name], data_dir, Role.EVALUATION, store))
  with registry.within("data"):
    domains = catalog.load_domains(
      data["source"],
      data["target"],
      data_dir=data_dir,
      cache_mbytes=data["cache_mbytes"],
      store=store,
      beside=beside,
      more_sources=data_sets.sets_of(data, "source")[1:],
      more_targets=data_sets.sets_of(data, "target")[1:],
    )
  with registry.within("eval", "targets"):
    targets = catalog.load_evaluation(specs, data_dir, domains.label_space, store)
  return domains, targets
