"""CLUDA (Vayyat et al., 2022) on HRDA: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_cluda \
    --config=configs/gta_to_cityscapes/cluda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 74.4 mIoU (abstract). Ours: not run.

Arguments: see `configs/published.py`, and pixel_order=interleaved (the published code) or aligned (what it meant).
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", crop=1024, pixel_order="interleaved")
  config.method.update(name="cluda", entropy_crop_start=12001, pixel_order=arg.pixel_order)
  config.method.grid = (65, 65)
  config.model.decoder_options = dict(embed_dim=512)
  config.model.hrda.update(fusion="resize_first", feature_weighter=True)
  return published.finish(config, arg)
