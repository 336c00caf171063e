"""CLUDA (Vayyat et al., 2022) on HRDA: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_cluda \
    --config=configs/gta_to_cityscapes/cluda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 74.4 mIoU (abstract). Ours: not run.

What differs: the detail crops are chosen by the entropy of the student's pass on the mixed view. The published
code makes one more pass of the main head for it, with a dropout and a BatchNorm update of its own.

Arguments: see `published.start`, and pixel_order=interleaved (the published code) or aligned (what it meant).
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", crop=1024, pixel_order="interleaved")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  # Margins of the image without pseudo-labels; the widest is for the car's bonnet.
  config.data.target_margins = (30, 240, 30, 30)
  config.model = dict(encoder="mit_b5", decoder="daformer", decoder_options=dict(embed_dim=512))
  config.model.hrda = dict(crop_size=(512, 512), fusion="resize_first", feature_weighter=True)
  config.method = dict(
    name="cluda",
    pixel_contrasted=dict(grid=(65, 65), pixel_order=args.pixel_order),
    entropy_cropped=dict(start_step=12001),
  )
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  return published.finish(config, args)
