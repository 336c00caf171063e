"""DACS as published (Tranheden et al., WACV 2021): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_dacs_original \
    --config=configs/synthia_to_cityscapes/dacs_original.py:source=/data/synthia,target=/data/cityscapes,weights=resnet101COCO-41f33a49.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments  network    mIoU  which number                                                origin
  -          DeepLabV2  48.3  best of 50 checkpoints by the target's labels, at 512x1024  README of HRDA

The published number is an oracle: it is the best of the checkpoints by the target's validation labels,
which the code resizes to 512x1024. `results.json` has the last step at 1024x2048. The weights are of
COCO, not of ImageNet. Source images keep their ratio and are resized by bilinear interpolation; the code
distorts them to 720x1280 by bicubic interpolation. The settings are those of GTA5: an assumption.

Arguments: see `published.start`.
"""

from .. import original_deeplab, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes")
  original_deeplab.choose(config)
  config.method = dict(
    name="dacs",
    self_training=dict(mix_per_image_classes=True, jitter_strength=0.25, align_corners=True),
    source_denominator="valid",
  )
  config.eval.every_steps = config.checkpoint.every_steps = 5_000
  return published.finish(config, args)
