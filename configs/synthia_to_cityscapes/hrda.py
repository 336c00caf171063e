"""HRDA (Hoyer et al., ECCV 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_hrda \
    --config=configs/synthia_to_cityscapes/hrda.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 65.8 mIoU16 (README of HRDA). Ours: not run.

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", crop=1024)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  # Margins of the image without pseudo-labels; the widest is for the car's bonnet.
  config.data.target_margins = (30, 240, 30, 30)
  config.model = dict(encoder="mit_b5", decoder="daformer", hrda=dict(crop_size=(512, 512)))
  config.method = dict(name="daformer")
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  return published.finish(config, args)
