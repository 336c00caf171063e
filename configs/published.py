"""The tasks of the published recipes: data sets, image sizes, crops and classes.

Not a recipe itself. The folders of the data sets come from the recipe's arguments; docs/data.md says
what they must hold.
"""

from typing import Any

from jax_uda.common import registry
from jax_uda.run import arguments, smoke
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

# Data set: (height, width) into which its images are fitted, for crops of 512 and of 1024 pixels.
SIZES = {
  "gta5": ((720, 1280), (1440, 2560)),
  "synthia": ((760, 1280), (1520, 2560)),
  "cityscapes": ((512, 1024), (1024, 2048)),
  "dark_zurich": ((540, 960), (1080, 1920)),
  "acdc": ((540, 960), (1080, 1920)),
}
TASKS = {  # source, target
  "gta_to_cityscapes": ("gta5", "cityscapes"),
  "synthia_to_cityscapes": ("synthia", "cityscapes"),
  "cityscapes_to_dark_zurich": ("cityscapes", "dark_zurich"),
  "cityscapes_to_acdc": ("cityscapes", "acdc"),
}
ARGUMENTS = dict(source="data/source", target="data/target", weights="", seed=0, smoke=False)
NETWORKS = ("daformer", "deeplab")  # what the argument `network` takes, where a recipe has it


def start(arg: str, task: str, *, crop: int = 512, **more: Any) -> tuple[ConfigDict, ConfigDict]:
  """The defaults on a task: `(config, the recipe's arguments)`.

  Arguments of every recipe: source=DIR and target=DIR, the folders of the data sets; weights=FILE,
  the encoder's ImageNet weights (PyTorch's file or .safetensors), or weights=random for a network
  that starts at random: without either the run is refused; seed=<number>; smoke (a few steps of a
  small network on drawn streets, which starts at random).

  Args:
    arg: What follows the recipe's colon.
    task: One of `TASKS`.
    crop: Side of the square crops in pixels, 512 or 1024; image sizes go with it.
    **more: Further arguments of the recipe and their defaults.
  """
  args = arguments.parse(arg, **ARGUMENTS, **more)
  if "network" in more:
    registry.lookup(dict.fromkeys(NETWORKS), args.network, "argument network")
  source, target = registry.lookup(TASKS, task, "task")
  large = crop > 512
  config = config_lib.default()
  config.seed, config.init_weights, config.init_required = args.seed, args.weights, True
  config.data.source = dict(name=source, path=args.source, size=SIZES[source][large])
  config.data.target = dict(name=target, path=args.target, size=SIZES[target][large])
  config.data.crop_size = (crop, crop)
  if source == "synthia":
    # All 19 outputs stay; the 16 and 13 classes of the published scores are in the results.
    config.data.source.classes = "cityscapes19"
  return config, args


def finish(config: ConfigDict, args: ConfigDict) -> ConfigDict:
  """The config; in small if the recipe's arguments ask for `smoke`."""
  return smoke.shrink(config) if args.smoke else config
