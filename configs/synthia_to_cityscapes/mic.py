"""MIC (Hoyer et al., CVPR 2023): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_mic \
    --config=configs/synthia_to_cityscapes/mic.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 67.3 mIoU16 (third-party listing). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "synthia_to_cityscapes", crop=1024)
  config.method.name = "mic"
  config.method.mask_block = 64
  return published.finish(config, arg)
