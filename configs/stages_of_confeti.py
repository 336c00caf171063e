"""The two forms of CONFETI on a task: one run (CONFETII), or three stages. Not a recipe itself."""

from typing import Any

from jax_uda.run.changes import replace
from jax_uda.run.config_dict import ConfigDict

from . import networks, published

# Where the published runs of the one-stage form differ, by task and network: factors of the contrast, of its
# regularizer and of class activation maps, share of the cells that are contrasted, width of the projections.
ONE_STAGE: dict[str, dict[str, tuple[float, float, float, float, int]]] = {
  "gta_to_cityscapes": dict(deeplab=(0.1, 0.1, 0.1, 0.3, 256), daformer=(0.3, 0.5, 1.0, 1.0, 256)),
  "synthia_to_cityscapes": dict(
    deeplab=(0.1, 0.1, 0.1, 1.0, 256), daformer=(0.1, 0.1, 0.1, 1.0, 512)
  ),
  "cityscapes_to_dark_zurich": dict(
    deeplab=(0.1, 0.1, 0.1, 1.0, 256), daformer=(0.1, 0.3, 0.1, 1.0, 256)
  ),
}
# (height, width) of source and target images; the target's are also evaluated at their size.
SIZES = {
  "gta_to_cityscapes": ((720, 1280), (640, 1280)),
  "synthia_to_cityscapes": ((760, 1280), (640, 1280)),
  "cityscapes_to_dark_zurich": ((640, 1280), (720, 1280)),
}
# Of SYNTHIA's 16 classes: traffic light and sign, person, rider and all vehicles.
SYNTHIA_THINGS = (6, 7, 10, 11, 12, 13, 14, 15)
# AdamW's epsilon for the generator, by how often its gradients are divided by the loss scale, 65536.
GENERATOR_EPS = {"once": 1e-8, "twice": 1e-8 * 65536}
ARGUMENTS: dict[str, Any] = dict(network="deeplab", jitter="kornia058", unscaled="twice")


def get(arg: str, task: str) -> ConfigDict:
  """The recipe on a task of both forms, from what follows its colon (see `published.start`)."""
  config, args = published.start(arg, task, form="one_stage", **ARGUMENTS)
  if published.choice(args, "form", "one_stage", "two_stage") == "two_stage":
    return _two_stage(config, args)
  return one_stage(config, args, task)


def one_stage(config: ConfigDict, args: ConfigDict, task: str) -> ConfigDict:
  """The recipe of the one-stage form, from what `published.start` gave with `ARGUMENTS`."""
  config.data.crop_size = (640, 640)
  config.data.source.size, config.data.target.size = SIZES[task]
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  networks.choose(config, args.network, branches=4)
  is_deeplab = args.network == "deeplab"
  # Projections have the rate of the encoder.
  groups = ({"pattern": "^(decoder|heads_cam)", "learning_rate": 10.0},)
  norms = ({"pattern": "norm", "weight_decay": 0.0},)
  config.optimizer.groups = groups if is_deeplab else groups + norms
  values = ONE_STAGE[task]["deeplab" if is_deeplab else "daformer"]
  contrast, regularizer, cam, fraction, dim = values
  published.choice(args, "jitter", "kornia058", "kornia067")
  published.choice(args, "unscaled", *GENERATOR_EPS)
  method: dict[str, Any] = dict(
    name="confetii",
    levels=(-1,) if is_deeplab else (0, 1, 2, 3),
    # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
    self_training=dict(ignore_top=15, ignore_bottom=120),
    jitter=args.jitter,
    embedding_dim=dim,
    contrast=dict(fraction=fraction, weight=contrast, regularizer_weight=regularizer),
    cam_weight=cam,
    translator=dict(generator_eps=GENERATOR_EPS[args.unscaled], decay_steps=config.num_steps),
  )
  if task == "synthia_to_cityscapes":
    config.data.source.classes = config.data.target.classes = "synthia16"
    method["thing_classes"] = SYNTHIA_THINGS
  config.method = method
  return published.finish(config, args)


def _two_stage(config: ConfigDict, args: ConfigDict) -> ConfigDict:
  """The three stages of the two-stage form: the translator alone, joint training, a new student."""
  config.num_steps = 80_000
  config.data.target.size = (640, 1280)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  networks.choose(config, args.network, branches=4)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="confeti", stage=1, self_training=dict(ignore_top=15, ignore_bottom=120)
  )
  # Not needed for training at this size: the images of `val` stand in, so that no others are prepared.
  full_size = dict(name="cityscapes", path=args.target, size=(1024, 2048), train="val")
  config.eval.targets.full_size = full_size

  config.stages.translator = dict(
    method=replace(name="confeti", stage=0, translator=dict(decay=(40_000, 80_000))),
    data=dict(rare_class=replace(), cat_max_ratio=1.0),
    eval=dict(every_steps=0),
  )
  config.stages.joint = dict(init_auxiliary="translator")
  config.stages.student = dict(
    init_auxiliary="joint", method=dict(stage=2), data=dict(crop_size=(640, 640))
  )
  config.compare = ("joint", "student")
  return published.finish(config, args)
