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
Scores are those of whole images: in `results.json` those of `full_size` are the published protocol, on
images of 1024x2048, and those of `target` on the training's 640x1280.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes")
  published.deeplab(config)
  config.num_steps = 80_000
  config.data.target.size = (640, 1280)
  # Not needed for training at this size: the images of `val` stand in, so that no others are prepared.
  config.eval.targets.full_size = dict(
    name="cityscapes", path=arg.target, size=(1024, 2048), train="val"
  )
  config.method = dict(
    name="confeti",
    stage=1,
    ignore_top=config.method.ignore_top,
    ignore_bottom=config.method.ignore_bottom,
  )
  config.stages = ("translator", "joint", "student")
  config.compare = ("joint", "student")
  config.stage.translator = dict(
    method=dict(name="confeti", stage=0, translator=dict(decay=(40_000, 80_000))),
    data=dict(rare_class={}, cat_max_ratio=1.0),
    eval=dict(every_steps=0),
  )
  config.stage.joint = dict(init_player="translator")
  config.stage.student = dict(
    init_player="joint",
    method=dict(config.method) | dict(stage=2),
    data=dict(crop_size=(640, 640)),
  )
  return published.finish(config, arg)
