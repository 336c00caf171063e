"""HRDA (Hoyer et al., ECCV 2022): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_hrda \
    --config=configs/gta_to_cityscapes/hrda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments        network            mIoU  which number                  origin
  -                HRDA on DAFormer   73.8  mean of seeds 0-2, last step  README of HRDA
  network=deeplab  HRDA on DeepLabV2  -     mean of seeds 0-2, last step  HRDA, Table 2; number not at hand

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.
A single seed of the released code gave 73.79 (its checkpoint, the median of the three).

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", network="daformer")
  published.full_size(config)
  networks.choose(config, args.network, hrda=True)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  # Margins of the image without pseudo-labels; the widest is for the car's bonnet.
  config.data.target_margins = (30, 240, 30, 30)
  config.method = dict(name="daformer")
  return published.finish(config, args)
