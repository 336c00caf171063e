"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> ACDC.

  python main.py --workdir=runs/cityscapes_to_acdc_daformer \
    --config=configs/cityscapes_to_acdc/daformer.py:source=/data/cityscapes,target=/data/acdc,weights=mit_b5.pth

Published: 55.4 mIoU on the test server (README of DAFormer). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "cityscapes_to_acdc")
  return published.finish(config, arg)
