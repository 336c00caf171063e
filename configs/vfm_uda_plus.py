"""What the recipes of VFM-UDA++ share; not a recipe itself."""

import math
from typing import Any

from jax_uda.run.config_dict import ConfigDict

from . import published

MARGINS = (0.03, 0.25, 0.03, 0.03)  # top, bottom, left, right of a target image, also without a car
# The working size of the target's images: the short side is 1024.
WIDTHS = {"cityscapes": 2048, "dark_zurich": 1820}


def start(arg: str, task: str, *, encoder: str, **more: Any) -> tuple[ConfigDict, ConfigDict]:
  """The settings that the published configs have in common: `(config, the recipe's arguments)`.

  Args:
    arg: What follows the recipe's colon.
    task: One of `published.TASKS`.
    encoder: The encoder unless the recipe's argument `encoder` names another.
    **more: Further arguments of the recipe and their defaults.
  """
  config, args = published.start(arg, task, crop=1024, encoder=encoder, foundation="", **more)
  config.compute_dtype = "bfloat16"
  config.batch_size = 8
  config.gradient_by_groups = True  # as the reference, one loss after the other
  for domain in (config.data.source, config.data.target, *config.eval.targets.values()):
    domain.size = size_of(domain.name)
  # Both conditions on a crop at once: 20 tries that are checked, and a last one.
  config.data.rare_class = dict(
    temperature=0.05, min_pixels=3000, crop_min_pixels=6000, tries=21, joint_tries=True
  )
  config.data.source_scale = config.data.target_scale = (0.9, 1.1)
  config.data.target_margins = margins(1024, WIDTHS[config.data.target.name])
  config.model = dict(encoder=args.encoder, decoder="pyramid")
  config.model.encoder_options = dict(remat=True)
  config.method = dict(name="vfm_uda_plus")
  config.method.foundation = dict(encoder="dinov2_vitl14_reg", weights=args.foundation, size=406)
  config.ema = dict(decay=0.999, after_update=True, offset=1)
  config.optimizer.groups = ()
  config.optimizer.layer_decay = dict(decay=0.9, rule="blocks", multiplier=0.1)
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  config.eval.average = "probabilities"
  return config, args


def size_of(name: str) -> tuple[int, int]:
  """The size into which a data set's images are fitted; the short side decides."""
  return (1440, 2880) if name == "gta5" else (1024, 2048)


def margins(height: int, width: int) -> tuple[int, ...]:
  """The margins of target images without pseudo-labels, in pixels."""
  sides = (height, height, width, width)
  return tuple(int(share * side) for share, side in zip(MARGINS, sides, strict=True))


def rate(base: float, batch_size: int) -> dict[str, Any]:
  """The schedule of a published base rate, which is multiplied by the root of the batch."""
  scaled = round(base * math.sqrt(batch_size), 9)
  return dict(name="warmup_linear", learning_rate=scaled, warmup_steps=1500)
