"""MIC (Hoyer et al., CVPR 2023): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_mic \
    --config=configs/cityscapes_to_dark_zurich/mic.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published: 60.2 mIoU on the test server (from memory). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "cityscapes_to_dark_zurich", crop=1024)
  config.method.name = "mic"
  config.method.mask_block = 64
  config.method.masked_domains, config.method.masked_augmentation = "both", False
  return published.finish(config, arg)
