"""Training on the source alone: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_source_only \
    --config=configs/gta_to_cityscapes/source_only.py:network=segformer,source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments          network    mIoU  which number                  origin
  network=segformer  SegFormer  -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  network=deeplab    DeepLabV2  -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  -                  DAFormer   -     -                             none known to us

As DAFormer's code runs it: flips and the photometric distortion of MMSegmentation.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", network="daformer")
  networks.choose(config, args.network)
  config.method = dict(name="source_only", photometric_distortion=True)
  config.ema.statistics = True  # the teacher makes no pass of its own
  return published.finish(config, args)
