"""The published methods as more than one task has them; each function is `get_config` with the task.

Not a recipe itself: those of the tasks say which command runs them, what was published, and what differs.
"""

from configs import published


def source_only(arg: str, task: str):
  """Training on the source alone."""
  config, arg = published.start(arg, task, network="daformer")
  config.method = dict(name="source_only")
  config.data.rare_class = {}  # DAFormer's addition
  if arg.network == "deeplab":
    published.deeplab(config, "dlv2red")
  return published.finish(config, arg)


def dacs(arg: str, task: str):
  """DACS on DeepLabV2."""
  config, arg = published.start(arg, task)
  published.deeplab(config, "dlv2red")
  config.method.name = "dacs"
  config.ema.decay = 0.99
  config.data.rare_class = {}
  return published.finish(config, arg)


def sepico(arg: str, task: str):
  """SePiCo."""
  config, arg = published.start(arg, task, variant="distribution", network="daformer")
  rows = dict(ignore_top=config.method.ignore_top, ignore_bottom=config.method.ignore_bottom)
  config.method = dict(name="sepico", variant=arg.variant, start_step=3000, **rows)
  config.data.crop_size = (640, 640)
  config.data.target.size = (640, 1280)
  config.data.crop_target = False  # the method chooses the crop
  if arg.network == "deeplab":
    published.deeplab(config)
    config.method.head_options = dict(levels="last", hidden=2048)
  return published.finish(config, arg)


def spcl(arg: str, task: str):
  """SPCL on the common base."""
  config, arg = published.start(arg, task, network="daformer")
  rows = dict(ignore_top=config.method.ignore_top, ignore_bottom=config.method.ignore_bottom)
  config.method = dict(name="spcl", feature_dim=256, target="target", start_step=3000, **rows)
  config.method.survey = False  # of a network that has not learned yet
  if arg.network == "deeplab":
    published.deeplab(config)
    config.method.feature_dim = 2048
  return published.finish(config, arg)


def cluda(arg: str, task: str):
  """CLUDA on HRDA."""
  config, arg = published.start(arg, task, crop=1024, pixel_order="interleaved")
  config.method.update(name="cluda", entropy_crop_start=12001, pixel_order=arg.pixel_order)
  config.method.grid = (65, 65)
  config.model.decoder_options = dict(embed_dim=512)
  config.model.hrda.update(fusion="resize_first", feature_weighter=True)
  return published.finish(config, arg)


def rccr(arg: str, task: str):
  """RCCR, with the schedule of its own."""
  config, arg = published.start(arg, task, train_projector=True)
  config.method = dict(
    name="rccr",
    align_corners=True,
    train_projector=arg.train_projector,
    uniform_bias=True,
    num_rows=4000,
    ramp_steps=config.get_ref("num_steps"),
  )
  config.model = dict(encoder="resnet101_caffe", decoder="dlv2red")
  config.num_steps = 250_000
  config.data.target.size = (1024, 2048)  # not reduced: crops show half as much as in evaluation
  config.data.rare_class = {}
  config.data.cat_max_ratio = 1.0
  config.data.flip = False
  config.ema = dict(decay=0.99, after_update=True)
  config.optimizer = dict(name="sgd", momentum=0.9, weight_decay=5e-4)
  # The released code lists the backbone's parameters several times, and so updates them as often.
  config.optimizer.groups = (
    {"pattern": "^(decoder|heads)", "learning_rate": 10.0},
    {"pattern": "downsample", "repeats": 4},
    {"pattern": "layer", "repeats": 3},
  )
  config.schedule = dict(learning_rate=2.5e-4, power=0.9)
  config.eval.scales = (0.5,)
  config.eval.align_corners = True
  config.eval.every_steps = config.checkpoint.every_steps = 10_000
  return published.finish(config, arg)
