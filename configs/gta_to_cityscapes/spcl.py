"""SPCL (Xie et al., 2021) on the common base: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_spcl \
    --config=configs/gta_to_cityscapes/spcl.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none for this form; a public benchmark listing gives 52.1 for the stages in `spcl_stages.py`.
Ours: not run.

Ours, not the paper's: an EMA teacher and ClassMix in place of the adversarial warm-up and the offline
stages; the prototypes are those of the decoder's map.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.spcl(arg, "gta_to_cityscapes")
