"""DACS in DAFormer's code: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_dacs \
    --config=configs/gta_to_cityscapes/dacs.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments          network            mIoU  which number                  origin
  -                  DeepLabV2          -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  network=segformer  SegFormer          -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  hrda=true          HRDA on DeepLabV2  -     mean of seeds 0-2, last step  HRDA, Table 2; number not at hand

DAFormer's optimizer, schedule and sizes; no rare-class sampling, and pseudo-labels in all rows of the crop.
The 52.1 that tables cite is of the original code: `dacs_original.py`.

Arguments: see `published.start`, network=deeplab|segformer|daformer, and hrda=true|false.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", network="deeplab", hrda=False)
  networks.choose(config, args.network, hrda=args.hrda)
  if args.hrda:
    published.full_size(config)
  config.method = dict(name="dacs")
  config.ema.decay = 0.99
  return published.finish(config, args)
