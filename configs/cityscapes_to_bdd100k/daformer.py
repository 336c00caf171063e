"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> BDD100K.

  python main.py --workdir=runs/cityscapes_to_bdd100k_daformer \
    --config=configs/cityscapes_to_bdd100k/daformer.py:source=/data/cityscapes,target=/data/bdd100k,weights=mit_b5.pth

Published mIoU on BDD100K val, in percent. Ours: not run.

  arguments  network   mIoU  which number  origin
  -          DAFormer  -     -             none known to us

Assumptions, since nobody published it: the settings of Cityscapes -> ACDC, target images of 720x1280 as
they are, and no rows without pseudo-labels.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_bdd100k", network="daformer")
  networks.choose(config, args.network)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.method = dict(name="daformer")
  return published.finish(config, args)
