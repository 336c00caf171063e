"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_daformer \
    --config=configs/cityscapes_to_dark_zurich/daformer.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published: 53.8 mIoU on the test server (README of DAFormer). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "cityscapes_to_dark_zurich")
  return published.finish(config, arg)
