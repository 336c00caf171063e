"""The six stages of SPCL as published, on a task. Not a recipe itself."""

from jax_uda.run.changes import replace
from jax_uda.run.config_dict import ConfigDict

from . import published

GROUPS = 4  # the replicas of the published runs


def get(arg: str, task: str) -> ConfigDict:
  """The recipe on a task, from what follows its colon (see `published.start`)."""
  config, args = published.start(arg, task)
  config.num_steps, config.stop_step = 62_500, 40_000
  config.batch_size = 4
  config.ema = dict(decay=0.0, after_update=True, statistics=True)
  config.data.source.size = (720, 1280)
  if config.data.source.name == "synthia":
    for domain in (config.data.source, config.data.target, *config.eval.targets.values()):
      domain.classes = "synthia16"
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
  _add_stages(config)
  return published.finish(config, args)


def _add_stages(config: ConfigDict) -> None:
  """Adds what each stage changes, in place."""
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
