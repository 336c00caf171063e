"""CONFETI (Li et al., CVPR Workshops 2023), in three stages: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_confeti \
    --config=configs/synthia_to_cityscapes/confeti.py:source=/data/synthia,target=/data/cityscapes,weights=resnet101_v1c.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments         network    mIoU  which number                            origin
  -                 DeepLabV2  -     best checkpoint by the target's labels  CONFETI, Table 2; number not at hand
  network=daformer  DAFormer   -     -                                       none known to us

translator  0  CUT alone
  joint       1  the student and CUT, crops of 512          80 000 steps
  student     2  a student from the start, CUT as it is,
                 crops of 640                               80 000 steps

Hyper-parameters of joint and student are those of the published code. The length of the first stage is
not published: here 80 000 steps at images of the later stages' sizes, with a rate that falls in the
second half, and without the release's smaller images. The last translator of joint is handed over. The
released configurations keep the best checkpoint by the target's labels, an oracle; `results.json` has the
last step. Whole images are scored. In `results.json`, `full_size` follows the published protocol, on images
of 1024x2048; `target` has the training's size of 640x1280.

No configuration of SYNTHIA, and none of DAFormer's network, is released: its heads read the last level of MiT-B5, and the other
settings are the same. That is an assumption.

Arguments: see `published.start`, and network=deeplab|daformer|segformer.
"""

from .. import stages_of_confeti


def get_config(arg: str = ""):
  return stages_of_confeti.get(arg, "synthia_to_cityscapes")
