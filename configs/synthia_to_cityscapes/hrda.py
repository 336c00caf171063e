"""HRDA (Hoyer et al., ECCV 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_hrda \
    --config=configs/synthia_to_cityscapes/hrda.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments  network           mIoU  which number                  origin
  -          HRDA on DAFormer  65.8  mean of seeds 0-2, last step  README of HRDA

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", network="daformer")
  published.full_size(config)
  networks.choose(config, args.network, hrda=True)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  # Margins of the image without pseudo-labels; the widest is for the car's bonnet.
  config.data.target_margins = (30, 240, 30, 30)
  config.method = dict(name="daformer")
  return published.finish(config, args)
