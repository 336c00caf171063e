"""Training with the target's labels: Cityscapes with its labels.

  python main.py --workdir=runs/oracle_cityscapes \
    --config=configs/oracle/cityscapes.py:network=segformer,source=/data/cityscapes,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments          network    mIoU  which number                  origin
  network=segformer  SegFormer  -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  network=deeplab    DeepLabV2  -     mean of seeds 0-2, last step  DAFormer, Table 1; number not at hand
  -                  DAFormer   77.6  mean of seeds 0-2, last step  issue 6 of HRDA, which quotes the paper of DAFormer

An oracle, not adaptation: the *source* of this recipe is Cityscapes with its labels, which other
recipes adapt to without them. "target-only" in DAFormer's code.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "oracle", network="daformer")
  networks.choose(config, args.network)
  config.method = dict(name="source_only", photometric_distortion=True)
  config.ema.statistics = True  # the teacher makes no pass of its own
  return published.finish(config, args)
