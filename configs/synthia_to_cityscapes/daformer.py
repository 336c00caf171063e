"""DAFormer (Hoyer et al., CVPR 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_daformer \
    --config=configs/synthia_to_cityscapes/daformer.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 60.9 mIoU16 (README of DAFormer). Ours: not run.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(name="daformer", self_training=dict(ignore_top=15, ignore_bottom=120))
  return published.finish(config, args)
