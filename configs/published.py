"""What the published recipes share: the tasks, the bases, and the same in small.

Not a recipe itself. Folders of the data sets come from the recipe's arguments; what they must hold is
in docs/data.md.
"""

import ml_collections

from jax_uda.common import registry
from jax_uda.run import config as config_lib

# By task: source and target, each with its (height, width) for crops of 512 and of 1024 pixels; the
# rows above and below that pseudo-labels leave out, and the margins that do so at 1024.
GTA5 = ("gta5", (720, 1280), (1440, 2560))
SYNTHIA = ("synthia", (760, 1280), (1520, 2560))
CITYSCAPES = ("cityscapes", (512, 1024), (1024, 2048))
DARK_ZURICH = ("dark_zurich", (540, 960), (1080, 1920))
ACDC = ("acdc", (540, 960), (1080, 1920))
CITYSCAPES_ROWS, CITYSCAPES_MARGINS = (15, 120), (30, 240, 30, 30)
TASKS = {
  "gta_to_cityscapes": (GTA5, CITYSCAPES, CITYSCAPES_ROWS, CITYSCAPES_MARGINS),
  "synthia_to_cityscapes": (SYNTHIA, CITYSCAPES, CITYSCAPES_ROWS, CITYSCAPES_MARGINS),
  "cityscapes_to_dark_zurich": (CITYSCAPES, DARK_ZURICH, (0, 0), ()),
  "cityscapes_to_acdc": (CITYSCAPES, ACDC, (0, 0), ()),
}

DAFORMER = dict(encoder="mit_b5", decoder="daformer")
DEEPLAB = dict(encoder="resnet101_v1c", decoder="dlv2")
NETWORKS = dict(daformer=DAFORMER, deeplab=DEEPLAB)
HRDA = dict(crop_size=(512, 512))

ARGUMENTS = dict(source="data/source", target="data/target", weights="", seed=0, smoke=False)


def start(arg: str, task: str, *, crop: int = 512, **more) -> tuple:
  """DAFormer's settings on a task: `(config, the recipe's arguments)`.

  Arguments: source=DIR and target=DIR, the folders of the data sets; weights=FILE, of the encoder on
  ImageNet (PyTorch's file or .safetensors; without it the network starts at random); seed=<number>;
  smoke (two steps of a small network on drawn streets).

  Args:
    arg: What follows the recipe's colon.
    task: One of `TASKS`.
    crop: Side of the crops, 512 or 1024 (HRDA): image sizes go with it.
    **more: Further arguments of the recipe and their defaults.
  """
  arg = config_lib.parse_arg(arg, **ARGUMENTS, **more)
  if "network" in arg:
    registry.lookup(NETWORKS, arg.network, "<argument>.network")
  source, target, rows, margins = registry.lookup(TASKS, task, "task")
  large = crop > 512
  config = config_lib.default()
  config.seed, config.init_weights = arg.seed, arg.weights
  config.data.source = dict(name=source[0], path=arg.source, size=source[1 + large])
  config.data.target = dict(name=target[0], path=arg.target, size=target[1 + large])
  config.data.crop_size = (crop, crop)
  # The labels that are counted are those before training images are made smaller.
  config.data.rare_class = dict(
    temperature=0.01, min_pixels=3000, crop_min_pixels=6000 if large else 1500
  )
  config.model = DAFORMER
  config.method = dict(name="daformer")
  if large:
    config.model.hrda = HRDA
    config.data.target_margins = margins
    config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  else:
    config.method.ignore_top, config.method.ignore_bottom = rows
  if task == "synthia_to_cityscapes":
    # All 19 outputs stay; the 16 and 13 classes of the published scores are in the results.
    config.data.source.classes = "cityscapes19"
  return config, arg


def deeplab(config, decoder: str = "dlv2") -> None:
  """DeepLabV2 on ResNet-101 in place of DAFormer's network; no parameter is exempt from decay.

  DAFormer's own comparisons are with two branches, `dlv2red`; most others' with four.
  """
  config.model = DEEPLAB | dict(decoder=decoder)
  config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)


# --- in small ---

SMALL_MODELS = {
  "dinov2": dict(
    encoder="dinov2_vits14",
    decoder="vit_head",
    encoder_options=dict(embed_dim=32, depth=1, num_heads=2, position_grid=4),
  ),
  "": dict(encoder="compact", decoder="light", decoder_options=dict(width=16)),
}
SMALL_HRDA = dict(crop_size=(32, 32), attention_options=dict(embed_dim=8, channels=8))
SMALL_METHOD = dict(
  contrast_after=1,
  embedding_dim=8,
  entropy_crop_start=1,
  feature_dim=16,
  grid=(8, 8),
  ignore_bottom=0,
  ignore_top=0,
  mask_block=16,
  block=16,
  mixed_cam_after=1,
  num_rows=32,
  start_step=1,
  translator=dict(
    num_patches=16,
    generator=dict(width=4, blocks=2, nce_layers=(0, 4, 8, 12, 13)),
    discriminator=dict(width=4),
    patch_mlp=dict(dim=8),
  ),
)


def finish(config, arg):
  """The config; in small if the recipe's arguments say so."""
  if not arg.smoke:
    return config
  _shrink(config)
  for stage in config.stage.values():
    _shrink(stage)
  for domain, scene in (("source", "day"), ("target", "dusk")):
    config.data[domain] = dict(
      name="streets", seed=0, domain=scene, size=(64, 96), num_train=8, num_val=4
    )
  config.data.rare_class = dict(temperature=0.1, min_pixels=4, crop_min_pixels=2)
  if "hrda" in config.model:
    config.eval.window, config.eval.stride = (64, 64), (32, 32)
  config.eval.class_weights = config.eval.class_weights[:11]
  for name in config.eval.targets:
    config.eval.targets[name] = dict(config.data.target)
  config.data.cache_mbytes = 16
  config.log_every_steps, config.panel_images = 1, 1
  config.eval.every_steps = 0
  return config


def _shrink(config) -> None:
  """Fields of a config, or of a stage's replacements, by smaller ones."""
  if "num_steps" in config:
    config.num_steps = 2
  if config.get("stop_step"):
    config.stop_step = 2
  if "batch_size" in config:
    config.batch_size = 8  # for up to eight devices
  if "init_weights" in config:
    config.init_weights = ""
  if "model" in config:
    kind = next(kind for kind in SMALL_MODELS if config.model.encoder.startswith(kind))
    hrda = config.model.get("hrda")
    config.model = SMALL_MODELS[kind]
    if hrda is not None:
      config.model.hrda = dict(hrda) | SMALL_HRDA
  if "data" in config:
    if "crop_size" in config.data:
      config.data.crop_size = (64, 64)
    if config.data.get("target_margins"):
      config.data.target_margins = (2, 4, 2, 2)
    if "target" in config.data and config.data.target.get("day_images"):
      config.method.day_night_fusion = False  # drawn streets have no day images
  if "optimizer" in config:
    config.optimizer.groups = ()
  if "method" in config:
    _shrink_method(config.method)


def _shrink_method(method) -> None:
  for name in method.keys() & SMALL_METHOD.keys():
    method[name] = SMALL_METHOD[name]
  if method.get("name") in ("daformer", "mic", "cluda", "confeti"):
    method.thing_classes = (8, 9, 10)  # of the drawn streets
  if method.get("name") == "confeti":
    method.update({k: SMALL_METHOD[k] for k in ("translator", "embedding_dim", "contrast_after")})
    method.mixed_cam_after = 1
  if method.get("class_weights"):
    method.class_weights = method.class_weights[:11]
  for extension in method.get("also", ml_collections.ConfigDict()).values():
    _shrink_method(extension)
