"""MIC (Hoyer et al., CVPR 2023): Cityscapes -> ACDC.

  python main.py --workdir=runs/cityscapes_to_acdc_mic \
    --config=configs/cityscapes_to_acdc/mic.py:source=/data/cityscapes,target=/data/acdc,weights=mit_b5.pth

Published: 70.4 mIoU on the test server (third-party listing). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "cityscapes_to_acdc", crop=1024)
  config.method.name = "mic"
  config.method.mask_block = 64
  config.method.masked_domains, config.method.masked_augmentation = "both", False
  return published.finish(config, arg)
