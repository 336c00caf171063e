"""CONFETI (Li et al., CVPR Workshops 2023), in one run (CONFETII): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_confeti \
    --config=configs/cityscapes_to_dark_zurich/confeti.py:source=/data/cityscapes,target=/data/dark_zurich,weights=resnet101_v1c.pth

Published mIoU on Dark Zurich val, in percent. Ours: not run.

  arguments         network    mIoU  which number                            origin
  -                 DeepLabV2  -     best checkpoint by the target's labels  CONFETII, no table; number not at hand
  network=daformer  DAFormer   -     best checkpoint by the target's labels  CONFETII, no table; number not at hand

The authors' later code has this task, its first form, in three stages, has not. Neither its README nor its
configurations have a number. They keep the best checkpoint by the target's labels, an oracle; `results.json`
has the last step, and with --config.report=best_on_target that one, too. Whole images of 720x1280 are
scored. The rows without pseudo-labels are those of Cityscapes, as published.

  unscaled  "twice", as published: the mixed precision of that code divides the generator's gradients by the
            loss scale twice, which acts as an epsilon of 6.5536e-4 in its AdamW. "once": 1e-8, as intended.
            Which of them gives the published checkpoints is not known.
  jitter    "kornia058", the color jitter of the other methods, or "kornia067", that of the published
            environment, which is another function.

Arguments: see `published.start`, network=deeplab|daformer|segformer, unscaled=twice|once and
jitter=kornia058|kornia067.
"""

from .. import published, stages_of_confeti


def get_config(arg: str = ""):
  task = "cityscapes_to_dark_zurich"
  config, args = published.start(arg, task, **stages_of_confeti.ARGUMENTS)
  return stages_of_confeti.one_stage(config, args, task)
