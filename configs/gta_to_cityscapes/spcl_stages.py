"""SPCL as published, in six stages (Xie et al., 2021): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_spcl_stages \
    --config=configs/gta_to_cityscapes/spcl_stages.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101-5d3b4d8f.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments  network    mIoU  which number                                         origin
  -          DeepLabV2  52.1  each stage's best checkpoint by the target's labels  public benchmark listing

warm_up        1  adversarial warm-up                                  40 000 of 62 500 steps
  labels         3  pseudo-labels of its network
  contrast       2  prototypes of the source, from warm_up's network
                 4  contrastive stage                                    40 000 of 62 500 steps
  labels_again   5  pseudo-labels of that network
  self_training  6  cross-entropy on them                                20 000 of 31 250 steps

Hyper-parameters are those of the published code. What differs: each stage starts from the last checkpoint
of the one before (the code takes the best on the Cityscapes validation set, an oracle); source images keep
their ratio and are padded (the code distorts them) by bilinear, not bicubic interpolation; colors are
jittered after resizing, with kornia's formulas; the class-balanced draws are shared by the four groups;
scores are those of whole images at 512x1024, the last stage's at half of its 1024x2048, and logits are
resized to the image first and then to the label.

The student is the result. There is no moving average: the "teacher" is a copy of the student.

Arguments: see `published.start`.
"""

from .. import stages_of_spcl


def get_config(arg: str = ""):
  return stages_of_spcl.get(arg, "gta_to_cityscapes")
