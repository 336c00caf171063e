"""RCCR (Zhou et al., ICME 2022): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_rccr \
    --config=configs/gta_to_cityscapes/rccr.py:source=/data/gta5,target=/data/cityscapes,weights=DeepLab_init.pth

Published: 53.5 mIoU (from memory). Ours: not run.

The published GTA5 script never switches the contrast on (its start lies behind the end); this is
the setting of the SYNTHIA script for both. The contrast's ramp ends with the run. Source images keep
their ratio and are resized by bilinear interpolation: to 704x1280; the code distorts them to 720x1280 by
bicubic interpolation.

Arguments: see `configs/published.py`, and train_projector=false for the head left at random, as in the released code.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.rccr(arg, "gta_to_cityscapes")
