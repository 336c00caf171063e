"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_daformer \
    --config=configs/cityscapes_to_dark_zurich/daformer.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published mIoU on Dark Zurich test, in percent. Ours: not run.

  arguments  network   mIoU  which number                             origin
  -          DAFormer  53.8  test server, mean of 3 seeds, last step  README of HRDA

The score of `results.json` is that of the validation images, which differs from the test's by more than 10 points. Test
images are for the server: `--mode=predict`.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_dark_zurich")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  # Rows of the crop without pseudo-labels, as in the published run. They are meant for Cityscapes as
  # target: of a smaller image, the lower ones hide most of the road.
  config.method = dict(name="daformer", self_training=dict(ignore_top=15, ignore_bottom=120))
  return published.finish(config, args)
