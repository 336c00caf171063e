"""HRDA (Hoyer et al., ECCV 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_hrda \
    --config=configs/synthia_to_cityscapes/hrda.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 65.8 mIoU16 (README of HRDA). Ours: not run.

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "synthia_to_cityscapes", crop=1024)
  return published.finish(config, arg)
