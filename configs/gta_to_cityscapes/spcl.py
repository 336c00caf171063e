"""SPCL (Xie et al., 2021) on the common base: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_spcl \
    --config=configs/gta_to_cityscapes/spcl.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments  network   mIoU  which number  origin
  -          DAFormer  -     -             none: this form is ours; see `spcl_stages.py`

Ours, not the paper's: an EMA teacher and ClassMix in place of the adversarial warm-up and the offline
stages; the prototypes are those of the decoder's map.

Arguments: see `published.start`, and network=daformer|segformer256|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", network="daformer")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  networks.choose(config, args.network, branches=4)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="spcl", feature_dim=256, self_training=dict(ignore_top=15, ignore_bottom=120)
  )
  config.method.similarity = dict(target="target", start_step=3000)
  config.method.similarity.source_pass = False  # the network has not learned yet
  if args.network == "deeplab":
    config.method.feature_dim = 2048
  return published.finish(config, args)
