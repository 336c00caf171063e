"""SPCL as published, in six stages: GTA5 -> Cityscapes with DeepLab-v2 on ResNet-101.

  python main.py --config=configs/gta_to_cityscapes/spcl_stages.py:gta5=DIR,cityscapes=DIR \
    --config.init_weights=resnet101.pth --workdir=runs/gta_spcl

  warm_up        1  adversarial warm-up                                  40 000 of 62 500 steps
  labels         3  pseudo-labels of its network
  contrast       2  prototypes of the source, from warm_up's network
                 4  contrastive stage                                    40 000 of 62 500 steps
  labels_again   5  pseudo-labels of that network
  self_training  6  cross-entropy on them                                20 000 of 31 250 steps

Published (Xie et al., 2021, arXiv 2111.12358): the code's README has no table; a public benchmark listing
gives 52.1 mIoU. Ours: not run.

Hyper-parameters are those of the published code. What differs: each stage starts from the last checkpoint
of the one before (the code takes the best on the Cityscapes validation set); GTA5 keeps its ratio within
720x1280 and is padded (the code distorts it) by bilinear, not bicubic interpolation; colors are jittered
after resizing, with kornia's formulas; the class-balanced draws are shared by the four groups; scores are
those of whole images at 512x1024, the last stage's at half of its 1024x2048, and logits are resized to the image
first and then to the label.

The student is the result. There is no moving average: the "teacher" is a copy of the student.

Arguments: gta5=DIR, cityscapes=DIR, seed=<training seed>, smoke (a few steps of each stage with a
small network on drawn streets).
"""

from jax_uda.run import arguments, smoke
from jax_uda.run import config as config_lib
from jax_uda.run.changes import replace

GROUPS = 4  # the replicas of the published runs


def get_config(arg: str = ""):
  args = arguments.parse(arg, gta5="data/gta5", cityscapes="data/cityscapes", seed=0, smoke=False)
  config = config_lib.default()
  config.seed, config.init_required = args.seed, True
  config.num_steps, config.stop_step = 62_500, 40_000
  config.batch_size = 4
  config.ema = dict(decay=0.0, after_update=True, statistics=True)
  config.data.source = dict(name="gta5", path=args.gta5, size=(720, 1280))
  config.data.target = dict(name="cityscapes", path=args.cityscapes, size=(512, 1024))
  config.data.crop_size = (720, 1280)  # the whole image
  config.data.crop_target = False
  config.data.flip = False
  config.data.cat_max_ratio = 1.0
  config.data.class_balanced = True
  config.model = dict(encoder="resnet101_torchvision_frozen", decoder="dlv2")
  config.optimizer = dict(name="sgd", momentum=0.9, weight_decay=5e-4)
  config.optimizer.groups = ({"pattern": "^decoder", "learning_rate": 10.0},)
  config.schedule = dict(learning_rate=2.5e-4, power=0.9)
  config.checkpoint.every_steps = config.eval.every_steps = 2000
  config.eval.align_corners = True
  config.pseudo_label.cap = 0.9
  config.pseudo_label.label_size = (1024, 2048)

  config.method = dict(
    name="spcl_warm_up",
    temperature=1.8,
    adversarial_weight=0.001,
    discriminator_rate=0.4,
    groups=GROUPS,
  )
  config.stages.warm_up = {}
  config.stages.labels = dict(task="pseudo_label", init_from="warm_up")
  config.stages.contrast = dict(
    init_from="warm_up",
    data=dict(pseudo_labels="labels"),
    method=replace(
      name="spcl_contrast",
      feature_dim=2048,
      temperature=1.8,
      contrast_temperature=100.0,
      contrast_weight=1.0,
      decay=0.1,
      keep_absent=False,
      groups=GROUPS,
    ),
  )
  config.stages.labels_again = dict(task="pseudo_label", init_from="contrast")
  config.stages.self_training = dict(
    init_from="contrast",
    num_steps=31_250,
    stop_step=20_000,
    batch_size=8,
    model=dict(encoder="resnet101_torchvision"),  # BatchNorm is trained
    schedule=dict(learning_rate=5e-4),
    method=replace(name="spcl_self_training"),
    data=dict(
      target=dict(size=(1024, 2048)),
      pseudo_labels="labels_again",
      class_balanced=False,
      crop_size=(512, 1024),
      crop_target=True,
      target_scale=(0.5, 1.5),
      flip=True,
    ),
    eval=dict(scales=(0.5,)),
  )
  config.compare = ("warm_up", "contrast", "self_training")
  return smoke.shrink(config) if args.smoke else config
