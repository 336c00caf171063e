"""MinEnt (Vu et al., CVPR 2019) in HRDA's code: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_min_entropy \
    --config=configs/gta_to_cityscapes/min_entropy.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments  network            mIoU  which number                  origin
  -          DeepLabV2          -     mean of seeds 0-2, last step  HRDA, Table 2; number not at hand
  hrda=true  HRDA on DeepLabV2  -     mean of seeds 0-2, last step  HRDA, Table 2; number not at hand

Source images get the photometric distortion of MMSegmentation, as in HRDA's Table 2; MIC's Table 1 has them
without: `--config.method.photometric_distortion=False`. One learning rate for all parameters.

Arguments: see `published.start`, network=deeplab|segformer|daformer, and hrda=true|false.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", network="deeplab", hrda=False)
  networks.choose(config, args.network, hrda=args.hrda)
  config.method = dict(name="min_entropy", entropy_weight=0.001)
  if args.hrda:
    published.full_size(config)
    config.method.map_scale = 0.5
  config.optimizer = dict(name="sgd", momentum=0.9, weight_decay=5e-4, groups=())
  config.schedule.learning_rate = 2.5e-3
  config.ema.statistics = True  # the teacher makes no pass of its own
  return published.finish(config, args)
