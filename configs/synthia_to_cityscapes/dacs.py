"""DACS in DAFormer's code: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_dacs \
    --config=configs/synthia_to_cityscapes/dacs.py:source=/data/synthia,target=/data/cityscapes,weights=resnet101_v1c.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments  network    mIoU  which number  origin
  -          DeepLabV2  -     -             none known to us

DAFormer's optimizer, schedule and sizes; no rare-class sampling, and pseudo-labels in all rows of the crop.
The 48.3 that tables cite is of the original code: `dacs_original.py`.

Arguments: see `published.start`, network=deeplab|segformer|daformer, and hrda=true|false.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", network="deeplab", hrda=False)
  networks.choose(config, args.network, hrda=args.hrda)
  if args.hrda:
    published.full_size(config)
  config.method = dict(name="dacs")
  config.ema.decay = 0.99
  return published.finish(config, args)
