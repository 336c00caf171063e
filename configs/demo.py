"""The embedded demo: drawn daylight streets -> drawn dusk (or night) streets without labels.

  python main.py --config=configs/demo.py --workdir=runs/demo
  python main.py --config=configs/demo.py:method=sepico --workdir=runs/sepico

Nothing is downloaded. A small network is trained on labelled day scenes for a warm-up, and then again
from that common start: on the source alone, and with self-training on the unlabelled target (or with
the method asked for). All see the same source images, augmentation and class weights.

The settings of self-training were chosen on drawn domains of seed 100 in eight runs (threshold, jitter
strength, end of the learning-rate decay, the images from which ClassMix takes classes, weights per batch
or per pixel); those of the other methods were not searched. docs/results.md reports domains of seed 1.

The settings of a method are in its stage: --config.stages.self_training.method.self_training.pseudo_threshold=0.8.

Arguments: method=<name> (a stage of that method instead of the two; see METHODS in `small.py`),
target=dusk|night, seed=<training seed>, domains=<seed of the drawn scenes>, smoke (a minute, to see that
everything works).
"""

from jax_uda.run import arguments, smoke
from jax_uda.run import config as config_lib

from . import small

METHODS = small.METHODS


def get_config(arg: str = ""):
  args = arguments.parse(arg, method="", target="dusk", seed=0, domains=1, smoke=False)
  config = config_lib.default()
  config.seed = args.seed
  config.batch_size = 8
  config.ema.decay = 0.99
  streets = dict(name="streets", seed=args.domains, size=(96, 128), num_train=800, num_val=200)
  config.data.source = dict(domain="day", **streets)
  config.data.target = dict(domain=args.target, **streets)
  config.data.crop_size = (64, 96)
  config.data.rare_class = dict(temperature=0.05, min_pixels=40, crop_min_pixels=20)
  config.model = dict(encoder="compact", decoder="light")
  config.optimizer.groups = ()
  config.schedule = dict(learning_rate=2e-3, warmup_steps=50, power=0.9, end_value=1e-3)
  config.eval.batch_size = 20
  config.checkpoint.every_steps = 250

  small.add_stages(config, args.method, METHODS, steps=1200)
  return smoke.shorten(config) if args.smoke else config
