"""DAFormer (Hoyer et al., CVPR 2022): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_daformer \
    --config=configs/gta_to_cityscapes/daformer.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 68.3 mIoU (README of DAFormer). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes")
  return published.finish(config, arg)
