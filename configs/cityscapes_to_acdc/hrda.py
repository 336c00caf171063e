"""HRDA (Hoyer et al., ECCV 2022): Cityscapes -> ACDC.

  python main.py --workdir=runs/cityscapes_to_acdc_hrda \
    --config=configs/cityscapes_to_acdc/hrda.py:source=/data/cityscapes,target=/data/acdc,weights=mit_b5.pth

Published: 68.0 mIoU on the test server (README of HRDA). Ours: not run.

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_acdc", crop=1024)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  config.model = dict(encoder="mit_b5", decoder="daformer", hrda=dict(crop_size=(512, 512)))
  config.method = dict(name="daformer")
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  return published.finish(config, args)
