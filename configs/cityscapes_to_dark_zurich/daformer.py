"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_daformer \
    --config=configs/cityscapes_to_dark_zurich/daformer.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published: 53.8 mIoU on the test server (README of DAFormer). Ours: not run.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_dark_zurich")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  config.method = dict(name="daformer")
  return published.finish(config, args)
