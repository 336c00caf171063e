"""Training on the source alone: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_source_only \
    --config=configs/synthia_to_cityscapes/source_only.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: none known to us; with DeepLabV2 33-35 mIoU16 (from memory). Ours: not run.

Arguments: see `published.start`, and network=daformer|deeplab.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", network="daformer")
  config.model = dict(encoder="mit_b5", decoder="daformer")
  config.method = dict(name="source_only")
  if args.network == "deeplab":
    # DeepLabV2 on ResNet-101; no parameter is exempt from weight decay.
    config.model = dict(encoder="resnet101_v1c", decoder="dlv2red")
    config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)
  return published.finish(config, args)
