"""SePiCo (Xie et al., TPAMI 2023): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_sepico \
    --config=configs/synthia_to_cityscapes/sepico.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments                          network    mIoU  which number  origin
  -                                  DAFormer   64.3  not stated    README of SePiCo
  variant=bank                       DAFormer   63.3  not stated    README of SePiCo
  variant=prototype                  DAFormer   62.9  not stated    README of SePiCo
  network=deeplab                    DeepLabV2  58.1  not stated    README of SePiCo
  variant=bank,network=deeplab       DeepLabV2  57.4  not stated    README of SePiCo
  variant=prototype,network=deeplab  DeepLabV2  56.8  not stated    README of SePiCo

No configuration of SYNTHIA is published: that its settings are those of GTA5 is an assumption.

Arguments: see `published.start`, variant=distribution|bank|prototype, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(
    arg, "synthia_to_cityscapes", variant="distribution", network="daformer"
  )
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False  # the method chooses the crop
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  networks.choose(config, args.network, branches=4)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="sepico",
    start_step=3000,
    contrast=dict(variant=args.variant, temperature=100.0, weight=1.0),
    self_training=dict(ignore_top=15, ignore_bottom=120),
  )
  if args.network == "deeplab":
    config.method.head_options = dict(levels="last", hidden=2048)
  return published.finish(config, args)
