"""SPCL (Xie et al., 2021) on the common base: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_spcl \
    --config=configs/synthia_to_cityscapes/spcl.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: none for this form; 47.2 mIoU16 for the stages (from memory). Ours: not run.

Ours, not the paper's: an EMA teacher and ClassMix in place of the adversarial warm-up and the offline
stages; the prototypes are those of the decoder's map.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.spcl(arg, "synthia_to_cityscapes")
