"""Training on the source alone: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_source_only \
    --config=configs/synthia_to_cityscapes/source_only.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: none known to us; with DeepLabV2 33-35 mIoU16 (from memory). Ours: not run.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "synthia_to_cityscapes", network="daformer")
  config.method = dict(name="source_only")
  config.data.rare_class = {}  # DAFormer's addition
  if arg.network == "deeplab":
    published.deeplab(config)
  return published.finish(config, arg)
