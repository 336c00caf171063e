"""A recipe of three stages of seconds: a warm-up, pseudo-labels of the target, contrast with them (SPCL)."""

import tiny_recipe

from jax_uda.run import arguments


def get_config(arg: str = ""):
  arg = arguments.parse(arg, data_dir="", steps=8)
  config = tiny_recipe.get_config(f"data_dir={arg.data_dir},steps={arg.steps}")
  config.data.rare_class = {}
  config.data.class_balanced = True
  config.data.crop_target = False
  config.model.decoder_options = dict(width=8)
  config.method = dict(name="source_only")
  config.ema = dict(decay=0.0, after_update=True, statistics=True)
  config.stages.warm_up = dict(num_steps=arg.steps)
  config.stages.labels = dict(task="pseudo_label", init_from="warm_up")
  contrast = dict(name="spcl_contrast", feature_dim=8, groups=4)
  data = dict(pseudo_labels="labels")
  config.stages.contrast = dict(init_from="warm_up", method=contrast, data=data)
  return config
