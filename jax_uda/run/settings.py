"""The settings of one run as plain, checked values.

`from_config` makes them once from the run's config. Behind it nobody reads a `ConfigDict`: where a config
file has `()`, `""` or `0` for "none", the settings have None.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.data.pipeline.batching import BatchSettings
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.run import best_checkpoint, config_diff
from jax_uda.run import config as config_lib
from jax_uda.step.inference import Inference

Size = tuple[int, int]  # (height, width) in pixels
NETWORKS = ("student", "teacher")

PROJECTIONS: dict[str, Literal["pca", "tsne"] | None] = {"": None, "pca": "pca", "tsne": "tsne"}
# By `on_nonfinite`: what a run does when a loss is not finite.
NONFINITE = ("stop", "skip", "rollback")
# By `absent_classes`: whether classes in neither labels nor predictions count as 0 in means.
ABSENT = {"left_out": False, "zero": True}
RANDOM = "random"  # in place of a weight file: random networks are meant
# By `init_carry`: the fields of another run's state that a run takes over.
CARRIED = {"weights": ("student",), "run": ("step", "student", "teacher", "opt_state")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
  """Where training batches come from.

  Attributes:
    batches: How batches are drawn.
    pseudo_labels: Folder of the stage whose files label the target's training images, absolute or
      beside the run's folder.
    num_threads: Threads that make batches ahead.
  """

  batches: BatchSettings
  pseudo_labels: str | None = None
  num_threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings:
  """When and how a run is evaluated.

  Attributes:
    every_steps: Steps between two evaluations; None: at the end only.
    networks: The networks that are scored at the end.
    midway_networks: Those that are scored on the way.
    source: Whether the source's validation images are scored at the end.
    batch_size: Images that are predicted together.
    inference: How the networks predict images of the target.
    label_size: (height, width) to which labels of the target are resized before they are counted, or the
      length of the shorter side for labels of all its sets; None: they stay as they are.
    absent_as_zero: Whether a class in neither labels nor predictions counts as 0 in means, instead of not at
      all.
  """

  every_steps: int | None = None
  networks: tuple[str, ...] = NETWORKS
  midway_networks: tuple[str, ...] = NETWORKS[:1]
  source: bool = True
  batch_size: int = 1
  inference: Inference = Inference()
  label_size: Size | int | None = None
  absent_as_zero: bool = False

  def inference_on(self, name: str) -> Inference:
    """How the networks predict the set `name`: class weights are for the target alone."""
    if name == "target":
      return self.inference
    return dataclasses.replace(self.inference, class_weights=())


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartSettings:
  """What the networks of a run start from, if not at random.

  Attributes:
    init_from: Folder of another run, absolute or beside the run's own folder.
    init_carry: "weights": student and teacher start from the other run's student, at step 0. "run": step,
      student, teacher and optimizer continue.
    init_auxiliary: Folder of another run whose auxiliary networks this run begins with.
    init_weights: A weight file; not read if `init_from` is set.
    init_network: Which network of a weight file with a whole training run: "student" or "teacher".
    init_missing: Whether the recipe asks for a weight file, and none is named.
    foundation_weights: The weight file of the method's foundation model.
    foundation_missing: Whether it asks for one of a foundation model, too, and none is named.
  """

  init_from: str | None = None
  init_carry: Literal["weights", "run"] = "weights"
  init_auxiliary: str | None = None
  init_weights: str | None = None
  init_network: str = "student"
  init_missing: bool = False
  foundation_weights: str | None = None
  foundation_missing: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureSettings:
  """What a run draws.

  Attributes:
    panel_images: Rows of `panels.png`.
    views_every_steps: Steps between two pictures of the method's views; None: at the end only.
    projection: How `projection.png` maps embeddings to the plane; None: it is not drawn.
  """

  panel_images: int = 4
  views_every_steps: int | None = None
  projection: Literal["pca", "tsne"] | None = "pca"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabelSettings:
  """How a trained network labels the target's training images.

  Attributes:
    cap: Largest confidence threshold of a class; below it the median confidence counts.
    label_size: (height, width) of the label maps; None: those of the images.
    align_corners: How logits are resized.
    exact_pixels: Medians are exact if the training images have up to so many pixels in all; else a
      histogram estimates them.
  """

  cap: float = 0.9
  label_size: Size | None = None
  align_corners: bool = True
  exact_pixels: int = 2**26


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
  """When the state is saved, and how many of the newest checkpoints are kept.

  Attributes:
    every_steps: Steps between two checkpoints; None: only as `every_minutes` says.
    every_minutes: Minutes after which a step is saved; None: only as `every_steps` says.
    keep: How many of the newest checkpoints are kept.
  """

  every_steps: int | None = None
  every_minutes: float | None = None
  keep: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """Everything that a run needs to know beside its learner and its data.

  Attributes:
    title: The method and its components, for tables and figures.
    encoder: Name of the encoder.
    decoder: Name of the decoder.
    seed: Root of all random numbers.
    end_step: Steps after which the run ends.
    batch_size: Images of each domain in a batch, over all devices.
    log_every_steps: Steps between two lines of the log; None: at the end only.
    on_nonfinite: What happens when a loss is not finite, one of `NONFINITE`.
    max_skips: So many steps or batches in a row may be left out for that.
    data: How batches are drawn.
    start: What the networks start from.
    evaluation: When and how the run is evaluated.
    checkpoint: When the state is saved.
    figures: What is drawn.
    pseudo_label: How the target is labelled.
    report: Which checkpoint is reported: "last" or "best_on_target".
    fields: The config's fields by their path with dots, for messages that name them.
  """

  title: str
  encoder: str
  decoder: str
  seed: int
  end_step: int
  batch_size: int
  log_every_steps: int | None
  on_nonfinite: str
  max_skips: int
  data: DataSettings
  start: StartSettings = StartSettings()
  evaluation: EvalSettings = EvalSettings()
  checkpoint: CheckpointSettings = CheckpointSettings()
  figures: FigureSettings = FigureSettings()
  pseudo_label: PseudoLabelSettings = PseudoLabelSettings()
  report: str = best_checkpoint.LAST
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def from_config(config: config_lib.ConfigDict) -> RunSettings:
  """The settings of the run that `config` describes.

  Args:
    config: The config of one run or of one stage.

  Raises:
    SettingError: A field cannot be used; its path is that in the config, without "config".
  """
  fields: dict[str, Any] = config.to_dict()
  _check(fields)
  figures = FigureSettings(
    panel_images=max(fields["panel_images"], 1),
    views_every_steps=fields["views_every_steps"] or None,
    projection=registry.lookup(PROJECTIONS, fields["projection"], "projection"),
  )
  saving = config_lib.default().checkpoint.to_dict() | fields["checkpoint"]
  checkpoint = CheckpointSettings(
    every_steps=saving["every_steps"] or None,
    every_minutes=saving["every_minutes"] or None,
    keep=saving["keep"],
  )
  return RunSettings(
    title=" + ".join([fields["method"]["name"], *_components(fields["method"])]),
    encoder=fields["model"]["encoder"],
    decoder=fields["model"]["decoder"],
    seed=fields["seed"],
    end_step=config_lib.last_step(config),
    batch_size=fields["batch_size"],
    log_every_steps=fields["log_every_steps"] or None,
    on_nonfinite=fields["on_nonfinite"],
    max_skips=fields["max_skips"],
    data=_data_settings(fields["data"], fields["batch_size"], fields["seed"]),
    start=start_of(config),
    evaluation=evaluation_of(fields["eval"]),
    checkpoint=checkpoint,
    figures=figures,
    pseudo_label=_pseudo_label_settings(fields["pseudo_label"]),
    report=report_of(config),
    fields=config_diff.flatten(config_diff.to_plain(config)),
  )


def start_of(config: config_lib.ConfigDict) -> StartSettings:
  """What the networks of the run that `config` describes start from.

  Raises:
    SettingError: `init_carry` is unknown.
  """
  fields: dict[str, Any] = config.to_dict()
  registry.lookup(CARRIED, fields["init_carry"], "init_carry")
  file, foundation = fields["init_weights"], _foundation_weights(fields["method"])
  return StartSettings(
    init_from=fields["init_from"] or None,
    init_carry=fields["init_carry"],
    init_auxiliary=fields["init_auxiliary"] or None,
    init_weights=None if file in ("", RANDOM) else file,
    init_network=fields["init_network"],
    init_missing=fields["init_required"] and not (file or fields["init_from"]),
    foundation_weights=None if foundation in ("", RANDOM) else foundation,
    foundation_missing=fields["init_required"] and file != RANDOM and foundation == "",
  )


def _foundation_weights(method: Mapping[str, Any]) -> str | None:
  """The weight file of a method's foundation model; None if its settings describe none."""
  foundation = method.get("foundation")
  return str(foundation.get("weights", "")) if isinstance(foundation, Mapping) else None


def report_of(config: config_lib.ConfigDict) -> str:
  """Which checkpoint is reported; a config of an earlier version has the last one.

  Raises:
    SettingError: It is neither "last" nor "best_on_target".
  """
  report = config.get("report", best_checkpoint.LAST)
  registry.lookup(best_checkpoint.TITLES, report, "report")
  return report


def evaluation_of(group: Mapping[str, Any]) -> EvalSettings:
  """The settings of the config group `eval`.

  Raises:
    SettingError: A field cannot be used.
  """
  with registry.within("eval"):
    window, stride = (_size(group[name], name) for name in ("window", "stride"))
    if (window is None) != (stride is None):
      raise SettingError(
        "window",
        f"= {tuple(group['window'])} and config.eval.stride = {tuple(group['stride'])} must both be "
        "(height, width), or both empty.",
      )
    return EvalSettings(
      every_steps=group["every_steps"] or None,
      networks=_networks(group["networks"], "networks"),
      midway_networks=_networks(group["midway_networks"], "midway_networks"),
      source=bool(group["source"]),
      batch_size=group["batch_size"],
      label_size=_label_size(group["label_size"]),
      absent_as_zero=registry.lookup(ABSENT, group["absent_classes"], "absent_classes"),
      inference=Inference(
        window=window,
        stride=stride,
        flip=group["flip"],
        scales=tuple(group["scales"]),
        average=group["average"],
        align_corners=group["align_corners"],
        class_weights=tuple(group["class_weights"]),
        grid=group["grid"],
        whole_pixels=group["whole_pixels"],
      ),
    )


def _check(fields: Mapping[str, Any]) -> None:
  """Raises SettingError for fields that do not fit each other."""
  for path, value in (
    ("num_steps", fields["num_steps"]),
    ("checkpoint.keep", fields["checkpoint"]["keep"]),
    ("eval.batch_size", fields["eval"]["batch_size"]),
  ):
    if value is not None and value < 1:
      raise SettingError(path, f"= {value} must be at least 1.")
  registry.lookup(dict.fromkeys(NONFINITE), fields["on_nonfinite"], "on_nonfinite")
  if fields["stop_step"] > fields["num_steps"]:
    raise SettingError(
      "stop_step",
      f"= {fields['stop_step']} lies after the end, config.num_steps = {fields['num_steps']}; a "
      "recipe sets it per stage: config.stages.<name>.stop_step.",
    )
  missing = set(config_lib.default().eval) - set(fields["eval"])
  if missing:
    raise SettingError(
      "eval", f"lacks {', '.join(sorted(missing))}: set its fields by config.eval.update(…)."
    )


def _data_settings(group: Mapping[str, Any], batch_size: int, seed: int) -> DataSettings:
  with registry.within("data"):
    crop_size = _size(group["crop_size"], "crop_size")
    if crop_size is None or min(crop_size) < 1:
      raise SettingError(
        "crop_size", f"= {tuple(group['crop_size'])} must be (height, width) in pixels."
      )
    rare_class = group["rare_class"]
    batches = BatchSettings(
      batch_size=batch_size,
      crop_size=crop_size,
      seed=seed,
      cat_max_ratio=group["cat_max_ratio"],
      rare_class=(
        registry.call(RareClassSampling, "rare_class", **rare_class) if rare_class else None
      ),
      class_balanced=group["class_balanced"],
      flip=group["flip"],
      crop_target=group["crop_target"],
      target_margins=_tuple(group["target_margins"]),
      source_scale=_tuple(group.get("source_scale", ())),  # runs of earlier versions lack it
      target_scale=_tuple(group["target_scale"]),
    )
    return DataSettings(
      batches=batches,
      pseudo_labels=group["pseudo_labels"] or None,
      num_threads=group["num_threads"],
    )


def _pseudo_label_settings(group: Mapping[str, Any]) -> PseudoLabelSettings:
  with registry.within("pseudo_label"):
    return PseudoLabelSettings(
      cap=group["cap"],
      label_size=_size(group["label_size"], "label_size"),
      align_corners=group["align_corners"],
      exact_pixels=group["exact_pixels"],
    )


def _components(method: Mapping[str, Any]) -> list[str]:
  """The names in `method.also`; if it is no group, building the method refuses it."""
  also = method.get("also") or {}
  return list(also) if isinstance(also, Mapping) else []


def _networks(value: str | Sequence[str], field: str) -> tuple[str, ...]:
  """Names of networks, in the order of `NETWORKS`."""
  names = (value,) if isinstance(value, str) else tuple(value)
  for name in names:
    registry.lookup(dict.fromkeys(NETWORKS), name, (field,))
  if not names:
    raise SettingError(field, f"= {value!r} must name at least one of {', '.join(NETWORKS)}.")
  return tuple(name for name in NETWORKS if name in names)


def _size(value: Sequence[int], field: str) -> Size | None:
  """(height, width), or None for an empty sequence."""
  if len(value) not in (0, 2):
    raise SettingError(field, f"= {tuple(value)} must be (height, width) in pixels.")
  return (int(value[0]), int(value[1])) if len(value) else None


def _label_size(value: Sequence[int | str]) -> Size | int | None:
  """(height, width), the shorter side of ("short", 1024), or None for an empty value."""
  if len(value) != 2 or value[0] != "short":
    return _size(cast(Sequence[int], value), "label_size")
  side = value[1]
  if not isinstance(side, int) or side < 1:
    raise SettingError("label_size", f"= {tuple(value)!r} must be e.g. ('short', 1024).")
  return side


def _tuple(value: Sequence[Any]) -> Any:
  """A tuple, or None for an empty sequence."""
  return tuple(value) or None
