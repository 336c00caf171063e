"""Real photographs: CamVid by day -> CamVid at dusk without labels.

  python main.py --config=configs/camvid_day_to_dusk.py:path=FOLDER --workdir=runs/camvid

FOLDER holds CamVid in its 11-class form (train/, trainannot/, val/, … as in the SegNet tutorial). The
source are the day drives 0006R0 and 0016E5 (305 labelled images), the target are the 62 images of the
dusk drive 0001TP: training sees them without labels, the labels serve evaluation only, on the same
frames. (With the original test/ folder, set target.val to ("test/0001TP",) for unseen frames.)
Images are reduced to 120x160. The stages and the small network are those of the demo.

Arguments: path=FOLDER, seed=<training seed>, smoke (a few steps).
Ours: see the README.
"""

from jax_uda import config as config_lib


def get_config(arg: str = ""):
  arg = config_lib.parse_arg(arg, path="../shared/camvid", seed=0, smoke=False)
  config = config_lib.default()
  config.seed = arg.seed
  config.num_steps = 1500
  config.batch_size = 8
  config.ema.decay = 0.99
  camvid = dict(name="camvid", path=arg.path, size=(120, 160))
  config.data.source = dict(train=("train/0006R0", "train/0016E5"), val=("val",), **camvid)
  config.data.target = dict(train=("train/0001TP",), val=("train/0001TP",), **camvid)
  config.data.crop_size = (64, 96)  # as many pixels a step as the demo
  config.data.rare_class = dict(temperature=0.05, min_pixels=60, crop_min_pixels=30)
  config.model = dict(encoder="compact", decoder="light")
  config.optimizer.groups = ()
  config.schedule = dict(learning_rate=2e-3, warmup_steps=50, power=0.9, end_value=1e-3)
  config.eval.update(every_steps=500, batch_size=20)
  config.checkpoint.every_steps = 250

  shared = dict(class_weight_power=0.3, source_augmentation=True)
  config.method = dict(name="source_only", **shared)
  continued = dict(init_from="warm_up", init_carry="run")
  config.stages = ("warm_up", "source_only", "self_training")
  config.stage.warm_up = dict(stop_step=300)
  config.stage.source_only = continued
  config.stage.self_training = dict(
    method=dict(
      name="dacs",
      pseudo_threshold=0.9,
      pseudo_weight_per_pixel=True,
      mix_per_image_classes=True,
      **shared,
    ),
    **continued,
  )
  config.compare = ("source_only", "self_training")
  if arg.smoke:
    config.num_steps, config.stage.warm_up.stop_step = 6, 2
    config.log_every_steps = 1
  return config
