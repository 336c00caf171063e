"""Training on the source alone: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_source_only \
    --config=configs/gta_to_cityscapes/source_only.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 45.6 mIoU (DAFormer's Table 1, from memory); with DeepLabV2 34.3 mIoU (from memory). Ours: not run.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", network="daformer")
  config.method = dict(name="source_only")
  config.data.rare_class = {}  # DAFormer's addition
  if arg.network == "deeplab":
    published.deeplab(config)
  return published.finish(config, arg)
