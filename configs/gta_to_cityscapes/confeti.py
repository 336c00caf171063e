"""CONFETI (Li et al., CVPR Workshops 2023), in three stages: GTA5 -> Cityscapes with DeepLab-v2.

  python main.py --workdir=runs/gta_to_cityscapes_confeti \
    --config=configs/gta_to_cityscapes/confeti.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

  translator  0  CUT alone
  joint       1  the student and CUT, crops of 512          80 000 steps
  student     2  a student from the start, CUT as it is,
                 crops of 640                               80 000 steps

Published: the README of the code has no numbers and its tables were not at hand. Ours: not run.

Hyper-parameters of joint and student are those of the published code. The length of the first stage is
not published: here 80 000 steps at images of the later stages' sizes, with a rate that falls in the
second half, and without the release's smaller images. The last translator of joint is handed over.
Whole images are scored. In `results.json`, `full_size` follows the published protocol, on images of
1024x2048; `target` has the training's size of 640x1280.

Arguments: see `published.start`.
"""

from jax_uda.run.changes import replace

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes")
  config.num_steps = 80_000
  config.data.target.size = (640, 1280)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  # DeepLabV2 on ResNet-101; no parameter is exempt from weight decay.
  config.model = dict(encoder="resnet101_v1c", decoder="dlv2")
  config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(
    name="confeti", stage=1, self_training=dict(ignore_top=15, ignore_bottom=120)
  )
  # Not needed for training at this size: the images of `val` stand in, so that no others are prepared.
  full_size = dict(name="cityscapes", path=args.target, size=(1024, 2048), train="val")
  config.eval.targets.full_size = full_size

  config.stages.translator = dict(
    method=replace(name="confeti", stage=0, translator=dict(decay=(40_000, 80_000))),
    data=dict(rare_class=replace(), cat_max_ratio=1.0),
    eval=dict(every_steps=0),
  )
  config.stages.joint = dict(init_auxiliary="translator")
  config.stages.student = dict(
    init_auxiliary="joint", method=dict(stage=2), data=dict(crop_size=(640, 640))
  )
  config.compare = ("joint", "student")
  return published.finish(config, args)
