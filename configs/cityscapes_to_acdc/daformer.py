"""DAFormer (Hoyer et al., CVPR 2022): Cityscapes -> ACDC.

  python main.py --workdir=runs/cityscapes_to_acdc_daformer \
    --config=configs/cityscapes_to_acdc/daformer.py:source=/data/cityscapes,target=/data/acdc,weights=mit_b5.pth

Published mIoU on ACDC test, in percent. Ours: not run.

  arguments  network   mIoU  which number                             origin
  -          DAFormer  55.4  test server, mean of 3 seeds, last step  README of HRDA

The score of `results.json` is that of the validation images. Test
images are for the server: `--mode=predict`.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "cityscapes_to_acdc")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="mit_b5", decoder="daformer")
  # Rows of the crop without pseudo-labels, as in the published run. They are meant for Cityscapes as
  # target: of a smaller image, the lower ones hide most of the road.
  config.method = dict(name="daformer", self_training=dict(ignore_top=15, ignore_bottom=120))
  return published.finish(config, args)
