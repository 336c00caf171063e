"""HRDA (Hoyer et al., ECCV 2022): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_hrda \
    --config=configs/cityscapes_to_dark_zurich/hrda.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published mIoU on Dark Zurich test, in percent. Ours: not run.

  arguments  network           mIoU  which number                             origin
  -          HRDA on DAFormer  55.9  test server, mean of 3 seeds, last step  README of HRDA

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.
The score of `results.json` is that of the validation images, which differs from the test's by more than 10 points. Test
images are for the server: `--mode=predict`.

Arguments: see `published.start`, and network=daformer|segformer|deeplab.
"""

from .. import networks, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_dark_zurich", network="daformer")
  published.full_size(config)
  networks.choose(config, args.network, hrda=True)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  config.method = dict(name="daformer")
  return published.finish(config, args)
