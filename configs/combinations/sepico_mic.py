"""SePiCo's distributions with MIC's masked target: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_sepico_mic \
    --config=configs/combinations/sepico_mic.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes")
  rows = dict(ignore_top=config.method.ignore_top, ignore_bottom=config.method.ignore_bottom)
  # SePiCo's target view is augmented already.
  also = dict(masked=dict(block=32, augmentation=False))
  config.method = dict(name="sepico", start_step=3000, also=also, **rows)
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False
  return published.finish(config, arg)
