"""Training on the source alone: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_source_only \
    --config=configs/synthia_to_cityscapes/source_only.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: none known to us; with DeepLabV2 33-35 mIoU16 (from memory). Ours: not run.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.source_only(arg, "synthia_to_cityscapes")
