"""RCCR (Zhou et al., ICME 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_rccr \
    --config=configs/synthia_to_cityscapes/rccr.py:source=/data/synthia,target=/data/cityscapes,weights=DeepLab_init.pth

Published: 56.8 mIoU13 (from memory). Ours: not run.

The published GTA5 script never switches the contrast on (its start lies behind the end); this is
the setting of the SYNTHIA script for both. The contrast's ramp ends with the run. Source images are
resized by bilinear, not bicubic interpolation.

Arguments: see `configs/published.py`, and train_projector=false for the head left at random, as in the released code.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.rccr(arg, "synthia_to_cityscapes")
