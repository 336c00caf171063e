"""The setting of the released code of DACS and RCCR, which share it. Not a recipe itself."""

from jax_uda.run.config_dict import ConfigDict


def choose(config: ConfigDict) -> None:
  """Sets data, network, optimizer, teacher and evaluation of that code, in place; not the method."""
  config.num_steps = 250_000
  config.data.target.size = (1024, 2048)  # not reduced: crops show half as much as in evaluation
  config.data.cat_max_ratio = 1.0
  config.data.flip = False
  config.model = dict(encoder="resnet101_caffe", decoder="dlv2red")
  config.ema = dict(decay=0.99, after_update=True)
  config.optimizer = dict(name="sgd", momentum=0.9, weight_decay=5e-4)
  # The released code lists the backbone's parameters several times, and so updates them as often.
  config.optimizer.groups = (
    {"pattern": "^(decoder|heads)", "learning_rate": 10.0},
    {"pattern": "downsample", "repeats": 4},
    {"pattern": "layer", "repeats": 3},
  )
  config.schedule = dict(learning_rate=2.5e-4, power=0.9)
  config.eval.scales = (0.5,)
  config.eval.align_corners = True
