"""DACS: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_dacs \
    --config=configs/synthia_to_cityscapes/dacs.py:source=/data/synthia,target=/data/cityscapes,weights=resnet101_v1c.pth

Published: 48.3 mIoU16. Ours: not run.

As DAFormer's code runs it: its optimizer, schedule and sizes; no rare-class sampling.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "synthia_to_cityscapes")
  published.deeplab(config)
  config.method.name = "dacs"
  config.ema.decay = 0.99
  config.data.rare_class = {}
  return published.finish(config, arg)
