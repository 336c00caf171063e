"""SePiCo's distributions with MIC's masked target: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_sepico_mic \
    --config=configs/combinations/sepico_mic.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes")
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False  # the method chooses the crop
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="sepico", start_step=3000, self_training=dict(ignore_top=15, ignore_bottom=120)
  )
  # SePiCo's target view is augmented already.
  config.method.also = dict(masked=dict(block=32, augmentation=False))
  return published.finish(config, args)
