"""From a config to the objects of a run: a learner, the data, and settings."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import optax

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.data.datasets import catalog
from jax_uda.data.pipeline import batching, stored_labels
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExample
from jax_uda.models.layers.lora import LoRA
from jax_uda.models.layers.rein import Rein
from jax_uda.run import config as config_lib
from jax_uda.run import settings as settings_lib
from jax_uda.run.settings import RunSettings
from jax_uda.step import layer_decay as layer_decay_lib
from jax_uda.step import optimizer, teacher
from jax_uda.step.layer_decay import LayerDecay
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


def build(config: config_lib.ConfigDict) -> Experiment:
  """Builds everything that a run needs; prepares data sets that are not there yet.

  Args:
    config: The config of one run or of one stage.

  Raises:
    ValueError: A field of the config is unknown or does not fit the others; the message names it.
  """
  with registry.within("config"):
    settings = settings_lib.from_config(config)
    fields: dict[str, Any] = config.to_dict()
    dtype = registry.lookup(DTYPES, fields["compute_dtype"], "compute_dtype")
    mesh = mesh_lib.data_mesh()
    mesh_lib.check_batch_size(settings.batch_size, mesh)
    domains, further_targets = _load_data(fields)
    num_classes = domains.label_space.num_classes
    with registry.within("eval"):
      settings.evaluation.inference.check_classes(num_classes)
    model = build_model(fields["model"], num_classes, dtype)
    task = Task(
      num_classes=num_classes,
      class_frequency=domains.class_frequency,
      mean_color=model.image_mean,
    )
    groups = _parameter_groups(fields["optimizer"], model)
    learner = Learner(
      model,
      methods.build(task, **fields["method"]),
      schedule=_build_schedule(fields["schedule"], fields["num_steps"]),
      optimizer=_optimizer_of(fields["optimizer"], groups, model),
      teacher_rule=_teacher_rule(fields["ema"]),
      mesh=mesh,
    )
  return Experiment(learner, domains, settings, groups, further_targets)


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
    domains = catalog.load_domains(
      data["source"], data["target"], data_dir=data_dir, cache_mbytes=data["cache_mbytes"]
    )
  with registry.within("eval", "targets"):
    targets = catalog.load_evaluation(fields["eval"]["targets"], data_dir, domains.label_space)
  return domains, targets


def _build_schedule(group: Mapping[str, Any], num_steps: int) -> optax.Schedule:
  settings = dict(group)
  name = settings.pop("name", "warmup_poly")
  function = registry.lookup(optimizer.SCHEDULES, name, "schedule.name")
  return registry.call(function, "schedule", num_steps=num_steps, **settings)


def _teacher_rule(group: Mapping[str, Any]) -> teacher.Rule:
  rule = registry.call(teacher.Rule, "ema", **group)
  if not 0 <= rule.decay <= 1:
    raise registry.SettingError("ema.decay", f"= {rule.decay} must lie between 0 and 1.")
  return rule


def _parameter_groups(
  group: Mapping[str, Any], model: models.Segmentor
) -> tuple[optimizer.Group, ...]:
  """The groups of the config, and behind them those of the encoder's adapter."""
  groups = tuple(
    registry.call(optimizer.Group, "optimizer.groups", **settings) for settings in group["groups"]
  )
  rate = optimizer.group_of(
    "decoder/", groups
  ).learning_rate  # an adapter learns as the decoder does
  adapter = getattr(model.encoder, "adapter", None)
  undecayed = {LoRA: r"/lora_[ab]$", Rein: "^encoder/reins/(learnable_tokens|factor)"}
  if not adapter:
    return groups
  groups += (optimizer.Group(undecayed[type(adapter)], rate, weight_decay=0.0),)
  if isinstance(adapter, Rein):
    groups += (optimizer.Group("^encoder/reins/", rate),)
  return groups


def _optimizer_of(
  group: Mapping[str, Any], groups: tuple[optimizer.Group, ...], model: models.Segmentor
) -> Callable[..., optax.GradientTransformation]:
  """`optimizer.build` with the settings of the config; takes the schedule and `start_steps`."""
  group = dict(group)
  layer_decay = group.pop("layer_decay", None)
  if layer_decay:
    group["layer_decay"] = _layer_decay(layer_decay, getattr(model.encoder, "depth", None))

  def build(schedule: optax.Schedule, **arguments: Any) -> optax.GradientTransformation:
    settings = {**group, "groups": groups, **arguments}
    with registry.within("optimizer"):
      return registry.call(optimizer.build, (), schedule, **settings)

  return build


def _layer_decay(value: float | Mapping[str, Any], depth: int | None) -> LayerDecay:
  """The layer-wise decay that the config has as a number, or as a group with `decay` and `rule`."""
  path = ("optimizer", "layer_decay")
  settings: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"decay": value}
  settings = ({} if depth is None else {"depth": depth}) | settings
  if "depth" not in settings:
    raise registry.SettingError(
      path, "is for plain Vision Transformers (dinov2_…, dinov3_…), whose blocks are in one row."
    )
  decay = registry.call(LayerDecay, path, **settings)
  registry.lookup(layer_decay_lib.SHIFTS, decay.rule, (*path, "rule"))
  if not 0 < decay.decay <= 1:
    raise registry.SettingError((*path, "decay"), f"= {decay.decay} must lie between 0 and 1.")
  return decay
