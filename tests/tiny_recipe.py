"""A run of seconds: drawn streets of 32x48 pixels and a network of a few thousand parameters."""

from jax_uda.run import arguments, changes
from jax_uda.run import config as config_lib


def get_config(arg: str = ""):
  arg = arguments.parse(arg, data_dir="", method="dacs", steps=8, seed=0, warm_up=0)
  config = config_lib.default()
  config.seed = arg.seed
  config.num_steps = arg.steps
  config.batch_size = 8
  config.ema.decay = 0.9
  if arg.data_dir:
    config.data.dir = arg.data_dir
  streets = dict(name="streets", seed=0, size=(32, 48), num_train=12, num_val=4)
  config.data.source = dict(domain="day", **streets)
  config.data.target = dict(domain="dusk", **streets)
  config.data.crop_size = (32, 32)
  config.data.rare_class = dict(temperature=0.1, min_pixels=4, crop_min_pixels=2)
  config.model = dict(
    encoder="compact", decoder="light", encoder_options=dict(widths=(8, 8, 16), depths=(1, 1))
  )
  settings = dict(source_augmentation=True, class_weight_power=0.3)
  config.method = dict(name=arg.method)
  config.method.update(settings if arg.method == "source_only" else {"self_training": settings})
  config.optimizer.groups = ({"pattern": "^decoder", "learning_rate": 2.0},)
  config.schedule = dict(learning_rate=1e-3, warmup_steps=2)
  config.log_every_steps = 1
  config.checkpoint = dict(every_steps=3, keep=2)
  config.eval.update(every_steps=0, batch_size=4)
  config.panel_images = 2
  config.projection = ""
  if arg.warm_up:
    config.stages.warm_up = dict(method=changes.replace(name="source_only"), num_steps=arg.warm_up)
    config.stages.method = dict(init_from="warm_up")
  return config
