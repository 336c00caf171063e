"""DAFormer (Hoyer et al., CVPR 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_daformer \
    --config=configs/synthia_to_cityscapes/daformer.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments        network    mIoU  which number                  origin
  -                DAFormer   60.9  mean of seeds 0-2, last step  README of DAFormer
  network=deeplab  DeepLabV2  -     -                             none known to us

The released median checkpoint has 61.3 (issue 10 of DAFormer).

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", network="daformer")
  networks.choose(config, args.network)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(name="daformer", self_training=dict(ignore_top=15, ignore_bottom=120))
  return published.finish(config, args)
