"""CONFETI (Li et al., CVPR Workshops 2023), in one run (CONFETII) or in three stages: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_confeti \
    --config=configs/gta_to_cityscapes/confeti.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments                        network    mIoU  which number                            origin
  -                                DeepLabV2  -     best checkpoint by the target's labels  CONFETII, no table; number not at hand
  network=daformer                 DAFormer   -     best checkpoint by the target's labels  CONFETII, no table; number not at hand
  form=two_stage                   DeepLabV2  -     best checkpoint by the target's labels  CONFETI, Table 1; number not at hand
  form=two_stage,network=daformer  DAFormer   70    preliminary, by the author              issue 3 of CONFETI

form=one_stage, the default, is the authors' later code, CONFETII: 40 000 steps on crops of 640, with the
translator from random weights in the same run. Neither its README nor its configurations have a number, and
it is not said whether the paper's are from this form. The released configurations keep the best checkpoint
by the target's labels, an oracle; `results.json` has the last step, and with
--config.report=best_on_target that one, too. Whole images of 640x1280 are scored, as published.

  unscaled  "twice", as published: the mixed precision of that code divides the generator's gradients by the
            loss scale twice, which acts as an epsilon of 6.5536e-4 in its AdamW. "once": 1e-8, as intended.
            Which of them gives the published checkpoints is not known.
  jitter    "kornia058", the color jitter of the other methods, or "kornia067", that of the published
            environment, which is another function.

form=two_stage is CONFETI as first published, three stages:

translator  0  CUT alone
  joint       1  the student and CUT, crops of 512          80 000 steps
  student     2  a student from the start, CUT as it is,
                 crops of 640                               80 000 steps

Hyper-parameters of joint and student are those of the published code. The length of the first stage is
not published: here 80 000 steps at images of the later stages' sizes, with a rate that falls in the
second half, and without the release's smaller images. The last translator of joint is handed over. Whole
images are scored. In `results.json`, `full_size` follows the published protocol of this form, on images of
1024x2048; `target` has the training's size of 640x1280. No configuration of DAFormer's network is released
in three stages: its heads read the last level of MiT-B5, and the other settings are the same. That is an
assumption.

Arguments: see `published.start`, network=deeplab|daformer|segformer, form=one_stage|two_stage, and in one
stage unscaled=twice|once and jitter=kornia058|kornia067.
"""

from .. import stages_of_confeti


def get_config(arg: str = ""):
  return stages_of_confeti.get(arg, "gta_to_cityscapes")
