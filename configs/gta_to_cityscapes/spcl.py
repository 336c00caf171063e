"""SPCL (Xie et al., 2021) on the common base: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_spcl \
    --config=configs/gta_to_cityscapes/spcl.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none for this form; a public benchmark listing gives 52.1 for the stages in `spcl_stages.py`.
Ours: not run.

Ours, not the paper's: an EMA teacher and ClassMix in place of the adversarial warm-up and the offline
stages; the prototypes are those of the decoder's map.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", network="daformer")
  rows = dict(ignore_top=config.method.ignore_top, ignore_bottom=config.method.ignore_bottom)
  config.method = dict(name="spcl", feature_dim=256, target="target", start_step=3000, **rows)
  config.method.survey = False  # of a network that has not learned yet
  if arg.network == "deeplab":
    published.deeplab(config)
    config.method.feature_dim = 2048
  return published.finish(config, arg)
