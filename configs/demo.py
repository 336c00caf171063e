"""The embedded demo: drawn daylight streets -> drawn dusk (or night) streets without labels.

  python main.py --config=configs/demo.py --workdir=runs/demo
  python main.py --config=configs/demo.py:method=sepico --workdir=runs/sepico

Nothing is downloaded. A small network is trained on labelled day scenes for a warm-up, and then again
from that common start: on the source alone, and with self-training on the unlabelled target (or with
the method asked for). All see the same source images, augmentation and class weights.

The settings of self-training were chosen on drawn domains of seed 100 (where ClassMix takes its
classes from, threshold, jitter strength, end of the learning-rate decay, weights per batch or per
pixel: eight runs); those of the other methods were not searched. The README reports domains of seed 1.

The settings of a method are in its stage: --config.stage.self_training.method.pseudo_threshold=0.8.

Arguments: method=<name> (a stage of that method instead of the two), target=dusk|night, seed=<training
seed>, domains=<seed of the drawn scenes>, smoke (a minute, to see that everything works).
"""

from jax_uda.common import registry
from jax_uda.run import config as config_lib

THINGS = (5, 8, 9, 10)  # vegetation, car, person, bicycle

# What all methods share, and what all with a teacher do.
SHARED = dict(class_weight_power=0.3, source_augmentation=True)
TEACHER = dict(pseudo_threshold=0.9, pseudo_weight_per_pixel=True, mix_per_image_classes=True)
SELF_TRAINING = SHARED | TEACHER
HRDA = dict(crop_size=(32, 48), attention_options=dict(embed_dim=32, channels=32))
SMALL_CUT = dict(
  learning_rate=2e-4,
  num_patches=64,
  generator=dict(width=16, blocks=2, nce_layers=(0, 4, 8, 12, 13)),
  discriminator=dict(width=16),
  patch_mlp=dict(dim=64),
)

METHODS = {
  "source_only": dict(name="source_only", **SHARED),
  "dacs": dict(name="dacs", **SELF_TRAINING),
  "daformer": dict(name="daformer", thing_classes=THINGS, **SELF_TRAINING),
  "hrda": dict(name="dacs", **SELF_TRAINING),
  "mic": dict(name="dacs", also=dict(masked=dict(block=16)), **SELF_TRAINING),
  "vfm_uda": dict(name="vfm_uda", pseudo_threshold=0.9),
  "sepico": dict(
    name="sepico",
    variant="distribution",
    start_step=100,
    crop_target=False,
    embedding_dim=64,
    head_options=dict(hidden=64),
    class_weight_power=0.3,
    **TEACHER,
  ),
  "spcl": dict(name="spcl", feature_dim=48, target="target", threshold=0.9, **SELF_TRAINING),
  "cluda": dict(
    name="dacs",
    also=dict(pixel_contrasted=dict(grid=(16, 24), ignore_is_class=False)),
    **SELF_TRAINING,
  ),
  "rccr": dict(name="rccr", num_rows=384, embedding_dim=64, weight=0.1, **SELF_TRAINING),
  "confeti": dict(
    name="confeti",
    stage=2,
    thing_classes=THINGS,
    embedding_dim=64,
    mixed_cam_after=100,
    contrast_after=200,
    translator=SMALL_CUT,
    **SELF_TRAINING,
  ),
}


def get_config(arg: str = ""):
  arg = config_lib.parse_arg(arg, method="", target="dusk", seed=0, domains=1, smoke=False)
  config = config_lib.default()
  config.seed = arg.seed
  config.batch_size = 8
  config.ema.decay = 0.99
  streets = dict(name="streets", seed=arg.domains, size=(96, 128), num_train=800, num_val=200)
  config.data.source = dict(domain="day", **streets)
  config.data.target = dict(domain=arg.target, **streets)
  config.data.crop_size = (64, 96)
  config.data.rare_class = dict(temperature=0.05, min_pixels=40, crop_min_pixels=20)
  config.model = dict(encoder="compact", decoder="light")
  config.optimizer.groups = ()
  config.schedule = dict(learning_rate=2e-3, warmup_steps=50, power=0.9, end_value=1e-3)
  config.eval.batch_size = 20
  config.checkpoint.every_steps = 250

  add_stages(config, arg.method, METHODS, steps=1200)
  return smoke(config) if arg.smoke else config


def add_stages(config, method, methods, *, steps, warm_up=0):
  """The warm-up, then `method` of the table `methods`, or the two of a demo.

  Without a method the source alone and self-training continue the warm-up and its schedule. A method
  begins with the weights of the warm-up, and has an optimizer and `steps` of its own. The warm-up has a
  quarter of `steps`, or `warm_up`; those have a schedule of their own before a method.
  """
  config.method = methods["source_only"]
  first = warm_up or steps // 4
  if method:
    registry.lookup(methods, method, "<argument>.method")
    config.num_steps = steps
    config.eval.every_steps = steps // 6
    config.stage.warm_up = dict(num_steps=warm_up) if warm_up else dict(stop_step=first)
    config.stage[method] = dict(method=methods[method], init_from="warm_up")
    config.stages = config.compare = ("warm_up", method)
    _adapt(config, method, methods)
  else:
    config.num_steps = first + steps
    config.stage.warm_up = dict(stop_step=first)
    config.eval.every_steps = config.num_steps // 3
    continued = dict(init_from="warm_up", init_carry="run")
    config.stage.source_only = continued
    config.stage.self_training = dict(method=methods["dacs"], **continued)
    config.stages = ("warm_up", "source_only", "self_training")
    config.compare = ("source_only", "self_training")


def _adapt(config, method, methods):
  """What some methods ask of the network, the teacher or earlier stages."""
  if method == "hrda":
    config.model.hrda = HRDA
  if method == "rccr":
    config.stage.rccr.ema = dict(decay=0.99, after_update=True)
    config.stage.rccr.method.ramp_steps = config.get_ref("num_steps")
  if method == "vfm_uda":
    small = dict(embed_dim=96, depth=4, num_heads=4, position_grid=8)
    config.model = dict(encoder="dinov2_vits14", decoder="vit_head", encoder_options=small)
    config.stage.vfm_uda.ema = dict(decay=0.99, after_update=True, offset=1, statistics=True)
  if method == "confeti":
    settings, steps = methods["confeti"], config.num_steps
    config.stage.translator = dict(method=settings | dict(stage=0), num_steps=steps // 8)
    config.stage.joint = dict(
      method=settings | dict(stage=1),
      num_steps=steps // 4,
      init_from="warm_up",
      init_player="translator",
    )
    config.stage.confeti.init_player = "joint"
    config.stages = ("warm_up", "translator", "joint", "confeti")
    config.compare = ("warm_up", "joint", "confeti")


def smoke(config):
  """A few steps on a few images."""
  for domain in (config.data.source, config.data.target):
    if domain.name == "streets":
      domain.num_train, domain.num_val = 16, 8
  config.batch_size = 8
  config.num_steps = 6
  for stage in config.stage.values():
    for name in ("num_steps", "stop_step"):
      if name in stage:
        stage[name] = 2
  config.log_every_steps = 1
  config.eval.batch_size = 8
  return config
