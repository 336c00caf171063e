"""Training on the source alone: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_source_only \
    --config=configs/synthia_to_cityscapes/source_only.py:network=segformer,source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments          network    mIoU  which number  origin
  network=segformer  SegFormer  -     -             none known to us
  network=deeplab    DeepLabV2  -     -             none known to us
  -                  DAFormer   -     -             none known to us

As DAFormer's code runs it: flips and the photometric distortion of MMSegmentation. It has no configuration of
SYNTHIA: that its settings are those of GTA5 is an assumption.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", network="daformer")
  networks.choose(config, args.network)
  config.method = dict(name="source_only", photometric_distortion=True)
  config.ema.statistics = True  # the teacher makes no pass of its own
  return published.finish(config, args)
