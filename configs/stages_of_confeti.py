"""The three stages of CONFETI on a task. Not a recipe itself."""

from jax_uda.run.changes import replace
from jax_uda.run.config_dict import ConfigDict

from . import networks, published


def get(arg: str, task: str) -> ConfigDict:
  """The recipe on a task, from what follows its colon (see `published.start`)."""
  config, args = published.start(arg, task, network="deeplab")
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
