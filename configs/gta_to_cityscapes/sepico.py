"""SePiCo (Xie et al., TPAMI 2023): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_sepico \
    --config=configs/gta_to_cityscapes/sepico.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 70.3 mIoU on DAFormer's network, 61.0 on DeepLabV2 (DistCL; README of SePiCo). Ours: not run.

Arguments: see `configs/published.py`, variant=distribution|bank|prototype, and network=daformer|deeplab.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(
    arg, "gta_to_cityscapes", variant="distribution", network="daformer"
  )
  rows = dict(ignore_top=config.method.ignore_top, ignore_bottom=config.method.ignore_bottom)
  config.method = dict(name="sepico", variant=arg.variant, start_step=3000, **rows)
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False  # the method chooses the crop
  if arg.network == "deeplab":
    published.deeplab(config)
    config.method.head_options = dict(levels="last", hidden=2048)
  return published.finish(config, arg)
