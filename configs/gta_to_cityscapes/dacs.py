"""DACS: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_dacs \
    --config=configs/gta_to_cityscapes/dacs.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

Published: 52.1 mIoU; 54.2 in DAFormer's code (from memory). Ours: not run.

As DAFormer's code runs it: its optimizer, schedule and sizes; no rare-class sampling.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes")
  # DeepLabV2 on ResNet-101; no parameter is exempt from weight decay.
  config.model = dict(encoder="resnet101_v1c", decoder="dlv2red")
  config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(name="dacs", self_training=dict(ignore_top=15, ignore_bottom=120))
  config.ema.decay = 0.99
  return published.finish(config, args)
