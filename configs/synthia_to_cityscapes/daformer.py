"""DAFormer (Hoyer et al., CVPR 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_daformer \
    --config=configs/synthia_to_cityscapes/daformer.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 60.9 mIoU16 (README of DAFormer). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "synthia_to_cityscapes")
  return published.finish(config, arg)
