"""RCCR (Zhou et al., ICME 2022): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_rccr \
    --config=configs/synthia_to_cityscapes/rccr.py:source=/data/synthia,target=/data/cityscapes,weights=DeepLab_init.pth

Published mIoU of SYNTHIA's 13 classes on Cityscapes val, in percent. Ours: not run.

  arguments  network    mIoU  which number                                                 origin
  -          DeepLabV2  -     best of 125 checkpoints by the target's labels, at 512x1024  RCCR, tables; number not at hand

The published number is an oracle: it is the best of the checkpoints by the target's validation labels,
which the code resizes to 512x1024. `results.json` has the last step at 1024x2048;
--config.report=best_on_target and --config.eval.label_size='(512,1024)' score as the authors do.

The published GTA5 script never switches the contrast on (its start lies behind the end); this is
the setting of the SYNTHIA script for both. The contrast's ramp ends with the run. Source images are
resized by bilinear, not bicubic interpolation.

Arguments: see `published.start`, and train_projector=false for the head left at random, as in the
released code.
"""

from .. import original_deeplab, published


def get_config(arg: str = ""):
  config, args = published.start(arg, "synthia_to_cityscapes", train_projector=True)
  original_deeplab.choose(config)
  config.method = dict(name="rccr", self_training=dict(align_corners=True))
  config.method.region_consistent = dict(
    uniform_bias=True,
    train_projector=args.train_projector,
    contrast=dict(num_rows=4000, ramp_steps=config.get_ref("num_steps")),
  )
  config.eval.every_steps = config.checkpoint.every_steps = 10_000
  return published.finish(config, args)
