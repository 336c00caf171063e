"""The tasks of the published recipes: data sets, image sizes, crops and classes.

Not a recipe itself. The folders of the data sets come from the recipe's arguments; docs/data.md says
what they must hold.
"""

from typing import Any

from jax_uda.common import registry
from jax_uda.run import arguments, smoke
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

from . import networks

# Data set: (height, width) into which its images are fitted, for crops of 512 and of 1024 pixels.
SIZES = {
  "gta5": ((720, 1280), (1440, 2560)),
  "synthia": ((760, 1280), (1520, 2560)),
  "synscapes": ((720, 1440), (1440, 2880)),
  "cityscapes": ((512, 1024), (1024, 2048)),
  "dark_zurich": ((540, 960), (1080, 1920)),
  "acdc": ((540, 960), (1080, 1920)),
  "bdd100k": ((720, 1280), (720, 1280)),
  "mapillary": ((512, 1024), (1024, 2048)),
  "nighttime_driving": ((540, 960), (1080, 1920)),
  "wilddash2": ((540, 960), (1080, 1920)),
}
TASKS = {  # source, target
  "gta_to_cityscapes": ("gta5", "cityscapes"),
  "synthia_to_cityscapes": ("synthia", "cityscapes"),
  "cityscapes_to_dark_zurich": ("cityscapes", "dark_zurich"),
  "cityscapes_to_acdc": ("cityscapes", "acdc"),
  "cityscapes_to_bdd100k": ("cityscapes", "bdd100k"),
  "synthetic_to_real": ("gta5", "cityscapes"),  # the first of several
  "oracle": ("cityscapes", "cityscapes"),  # supervised by the labels that the others lack
}
# Unseen data sets that every recipe can be evaluated on, too: arguments that take their folders.
UNSEEN = ("bdd100k", "mapillary", "nighttime_driving", "wilddash2")
ARGUMENTS = dict(
  source="data/source",
  target="data/target",
  weights="",
  seed=0,
  smoke=False,
  **dict.fromkeys(UNSEEN, ""),
)


def start(arg: str, task: str, *, crop: int = 512, **more: Any) -> tuple[ConfigDict, ConfigDict]:
  """The defaults on a task: `(config, the recipe's arguments)`.

  Arguments of every recipe: source=DIR and target=DIR, the folders of the data sets; weights=FILE,
  the encoder's ImageNet weights (PyTorch's file or .safetensors), or weights=random for a network
  that starts at random: without either the run is refused; seed=<number>; smoke (a few steps of a
  small network on drawn streets, which starts at random); and, to be scored on unseen data sets, too,
  their folders: bdd100k=DIR, mapillary=DIR, nighttime_driving=DIR, wilddash2=DIR.

  `network`, where a recipe has it, is one of `networks.NETWORKS`.

  Args:
    arg: What follows the recipe's colon.
    task: One of `TASKS`.
    crop: Side of the square crops in pixels, 512 or 1024; image sizes go with it.
    **more: Further arguments of the recipe and their defaults.
  """
  args = arguments.parse(arg, **ARGUMENTS, **more)
  if "network" in more:
    registry.lookup(networks.NETWORKS, args.network, "argument network")
  source, target = registry.lookup(TASKS, task, "task")
  config = config_lib.default()
  config.seed, config.init_weights, config.init_required = args.seed, args.weights, True
  config.data.source = dict(name=source, path=args.source)
  config.data.target = dict(name=target, path=args.target)
  for name in UNSEEN:
    if args[name]:
      config.eval.targets[name] = dict(name=name, path=args[name])
  set_crop(config, crop)
  if source == "synthia":
    # All 19 outputs stay; the 16 and 13 classes of the published scores are in the results.
    config.data.source.classes = "cityscapes19"
  return config, args


def set_crop(config: ConfigDict, crop: int) -> None:
  """Sets the side of the crops, 512 or 1024, and the image sizes that go with it, in place."""
  config.data.crop_size = (crop, crop)
  for domain in (config.data.source, config.data.target, *config.eval.targets.values()):
    domain.size = SIZES[domain.name][crop > 512]


def full_size(config: ConfigDict) -> None:
  """Images and crops at twice the size, and windows in evaluation (HRDA), in place."""
  set_crop(config, 1024)
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)


def choice(args: ConfigDict, name: str, *known: str) -> str:
  """The argument `name`, which must be one of `known`.

  Raises:
    SettingError: It is not.
  """
  return registry.lookup(dict.fromkeys(known, args[name]), args[name], f"argument {name}")


def finish(config: ConfigDict, args: ConfigDict) -> ConfigDict:
  """The config; in small if the recipe's arguments ask for `smoke`."""
  return smoke.shrink(config) if args.smoke else config
