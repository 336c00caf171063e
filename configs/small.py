"""Methods for small images, from a common warm-up: what the demo and the recipes of CamVid share.

Not a recipe itself. `METHODS` has the settings of each method, `add_stages` makes the runs of a recipe
of them, and `ADAPTED` says what a method asks of the network, the teacher or earlier stages.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.run.changes import replace
from jax_uda.run.config_dict import ConfigDict

THINGS = (5, 8, 9, 10)  # vegetation, car, person, bicycle

# The settings of all methods, and those of all methods with a teacher.
SHARED = dict(class_weight_power=0.3, source_augmentation=True)
TEACHER = dict(pseudo_threshold=0.9, pseudo_weight_per_pixel=True, mix_per_image_classes=True)
SELF_TRAINING = SHARED | TEACHER

HRDA = dict(crop_size=(32, 48), attention_options=dict(embed_dim=32, channels=32))
TRANSFORMER = dict(
  encoder="dinov2_vits14",
  decoder="vit_head",
  encoder_options=dict(embed_dim=96, depth=4, num_heads=4, position_grid=8),
)
TRANSLATOR = dict(
  learning_rate=2e-4,
  num_patches=64,
  generator=dict(width=16, blocks=2, nce_layers=(0, 4, 8, 12, 13)),
  discriminator=dict(width=16),
  patch_mlp=dict(dim=64),
)

METHODS: dict[str, dict[str, Any]] = {
  "source_only": dict(name="source_only", **SHARED),
  "dacs": dict(name="dacs", self_training=SELF_TRAINING),
  "daformer": dict(name="daformer", self_training=SELF_TRAINING, thing_classes=THINGS),
  "hrda": dict(name="dacs", self_training=SELF_TRAINING),
  "mic": dict(name="dacs", self_training=SELF_TRAINING, also=dict(masked=dict(block=16))),
  "vfm_uda": dict(name="vfm_uda", pseudo_threshold=0.9),
  "sepico": dict(
    name="sepico",
    start_step=100,
    self_training=dict(class_weight_power=0.3, **TEACHER),
    contrast=dict(variant="distribution"),
    crop_target=False,
    embedding_dim=64,
    head_options=dict(hidden=64),
  ),
  "spcl": dict(
    name="spcl",
    feature_dim=48,
    self_training=SELF_TRAINING,
    similarity=dict(target="target", threshold=0.9),
  ),
  "cluda": dict(
    name="dacs",
    self_training=SELF_TRAINING,
    also=dict(pixel_contrasted=dict(grid=(16, 24), ignore_is_class=False)),
  ),
  "rccr": dict(
    name="rccr",
    self_training=SELF_TRAINING,
    region_consistent=dict(embedding_dim=64, contrast=dict(num_rows=384, weight=0.1)),
  ),
  "confeti": dict(
    name="confeti",
    stage=2,
    self_training=SELF_TRAINING,
    thing_classes=THINGS,
    embedding_dim=64,
    mixed_cam_after=100,
    contrast_after=200,
    translator=TRANSLATOR,
  ),
  "confetii": dict(
    name="confetii",
    self_training=SELF_TRAINING,
    thing_classes=THINGS,
    embedding_dim=64,
    consistency_after=100,
    mixed_after=200,
    prototypes=dict(top_k=64),
    translator=TRANSLATOR,
  ),
}


def add_stages(
  config: ConfigDict,
  method: str,
  methods: Mapping[str, Mapping[str, Any]],
  *,
  steps: int,
  warm_up: int = 0,
) -> None:
  """Adds the runs of a recipe: a warm-up on the source, and what begins with its weights.

  With a method: the warm-up and then that method, which has an optimizer and a schedule of its own.
  Without one: source-only training and self-training (DACS), which both continue the warm-up, its
  optimizer and its schedule.

  Args:
    config: The recipe, changed in place.
    method: The argument `method`; empty for the comparison.
    methods: The settings of the methods by name.
    steps: Steps of training after the warm-up.
    warm_up: Steps of the warm-up before a method, with a schedule of their own; 0 = the first quarter
      of the schedule of `steps`.

  Raises:
    SettingError: The method is not in the table.
  """
  config.method = methods["source_only"]
  if method:
    _add_method(config, method, methods, steps=steps, warm_up=warm_up)
  else:
    _add_comparison(config, methods, steps=steps, warm_up=warm_up or steps // 4)


def _add_method(
  config: ConfigDict,
  method: str,
  methods: Mapping[str, Mapping[str, Any]],
  *,
  steps: int,
  warm_up: int,
) -> None:
  settings = registry.lookup(methods, method, "argument method")
  config.num_steps = steps
  config.eval.every_steps = steps // 6
  config.eval.midway_networks = ("student", "teacher")  # the sweep compares both over the steps
  config.stages.warm_up = dict(num_steps=warm_up) if warm_up else dict(stop_step=steps // 4)
  adapt = ADAPTED.get(method, _add_last_stage)
  adapt(config, method, settings)
  config.compare = config.compare or ("warm_up", method)


def _add_comparison(
  config: ConfigDict, methods: Mapping[str, Mapping[str, Any]], *, steps: int, warm_up: int
) -> None:
  config.num_steps = warm_up + steps
  config.eval.every_steps = config.num_steps // 3
  config.eval.midway_networks = ("student", "teacher")
  continued = dict(init_from="warm_up", init_carry="run")
  config.stages.warm_up = dict(stop_step=warm_up)
  config.stages.source_only = continued
  config.stages.self_training = dict(method=replace(**methods["dacs"]), **continued)
  config.compare = ("source_only", "self_training")


def _add_last_stage(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> ConfigDict:
  """The stage of the method itself, after those that it needs."""
  config.stages[method] = dict(method=replace(**settings), init_from="warm_up")
  return config.stages[method]


def _hrda(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> None:
  config.model.hrda = HRDA
  _add_last_stage(config, method, settings)


def _rccr(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> None:
  stage = _add_last_stage(config, method, settings)
  stage.ema = dict(decay=0.99, after_update=True)
  # The contrast's ramp ends with the run.
  stage.method.region_consistent.contrast.ramp_steps = config.get_ref("num_steps")


def _vfm_uda(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> None:
  config.model = TRANSFORMER
  stage = _add_last_stage(config, method, settings)
  stage.ema = dict(decay=0.99, after_update=True, offset=1, statistics=True)


def _confeti(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> None:
  """The translator alone, then with a student, then as it is with a new student."""
  steps = config.num_steps
  config.stages.translator = dict(method=replace(**settings) | dict(stage=0), num_steps=steps // 8)
  config.stages.joint = dict(
    method=replace(**settings) | dict(stage=1),
    num_steps=steps // 4,
    init_from="warm_up",
    init_auxiliary="translator",
  )
  _add_last_stage(config, method, settings).init_auxiliary = "joint"
  config.compare = ("warm_up", "joint", method)


def _confetii(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> None:
  """One stage, in which the translator's rate falls to 0 with the end of the run."""
  stage = _add_last_stage(config, method, settings)
  stage.method.translator.decay_steps = config.get_ref("num_steps")


# What adds the stages of a method that needs more than one stage after the warm-up.
ADAPTED: dict[str, Callable[[ConfigDict, str, Mapping[str, Any]], Any]] = {
  "hrda": _hrda,
  "rccr": _rccr,
  "vfm_uda": _vfm_uda,
  "confeti": _confeti,
  "confetii": _confetii,
}
