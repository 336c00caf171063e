"""SePiCo (Xie et al., TPAMI 2023): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_sepico \
    --config=configs/synthia_to_cityscapes/sepico.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 64.3 mIoU16 on DAFormer's network, 58.1 on DeepLabV2 (DistCL; README of SePiCo). Ours: not run.

Arguments: see `published.start`, variant=distribution|bank|prototype, and network=daformer|deeplab.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(
    arg, "synthia_to_cityscapes", variant="distribution", network="daformer"
  )
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False  # the method chooses the crop
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="sepico",
    start_step=3000,
    contrast=dict(variant=args.variant, temperature=100.0, weight=1.0),
    self_training=dict(ignore_top=15, ignore_bottom=120),
  )
  if args.network == "deeplab":
    # DeepLabV2 on ResNet-101; no parameter is exempt from weight decay.
    config.model = dict(encoder="resnet101_v1c", decoder="dlv2")
    config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)
    config.method.head_options = dict(levels="last", hidden=2048)
  return published.finish(config, args)
