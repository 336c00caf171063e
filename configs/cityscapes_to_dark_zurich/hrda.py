"""HRDA (Hoyer et al., ECCV 2022): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_hrda \
    --config=configs/cityscapes_to_dark_zurich/hrda.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published: 55.9 mIoU on the test server (README of HRDA). Ours: not run.

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "cityscapes_to_dark_zurich", crop=1024)
  return published.finish(config, arg)
