"""The fields of a run, their defaults, and checks that need no data.

A recipe (a file in `configs/`) starts from `default()` and says what differs.
The groups `model`, `method`, `optimizer`, `schedule` and the entries of `data`
become keyword arguments of one function each, so a misspelt key is an error.
"""

from typing import Any

import ml_collections

from jax_uda.common import registry

ConfigDict = ml_collections.ConfigDict


def default() -> ConfigDict:
  """DAFormer's training settings; data, model and method are left to the recipe."""
  config = ConfigDict()
  config.seed = 0
  config.num_steps = 40_000  # length of the learning-rate schedule
  config.stop_step = 0  # stop earlier than num_steps; 0 = do not
  config.batch_size = 2  # images of the source and as many of the target, over all devices
  config.compute_dtype = "float32"  # or bfloat16; parameters, statistics and losses stay float32

  # "train", or "pseudo_label": a stage that labels the target's training images with the student of
  # init_from, for the data.pseudo_labels of later stages.
  config.task = "train"
  config.pseudo_label = ConfigDict()
  config.pseudo_label.cap = 0.9  # largest threshold of a class; else its median confidence
  config.pseudo_label.label_size = ()  # (height, width) of the label maps; empty = the images'
  config.pseudo_label.align_corners = True  # of the resizing of logits
  # Up to so many pixels in the data set the median is exact; of more a histogram is made.
  config.pseudo_label.exact_pixels = 2**26

  # Start from another run: its folder, absolute or relative to the parent of the workdir.
  # init_carry "weights": student and teacher start from its student, at step 0.
  # init_carry "run": step, student, teacher and optimizer continue; the objectives' state and
  # the second player are new.
  config.init_from = ""
  config.init_carry = "weights"
  # Another run whose second player (CONFETI's translator) this run begins with; named as init_from.
  config.init_player = ""

  # Or from a weight file, PyTorch's or .safetensors; "package:NAME/…" lies in an installed package.
  # Parts that it does not have start at random. With init_from it is ignored: only the first of
  # several stages reads it. init_network, of files with a training run: "student" or "teacher".
  config.init_weights = ""
  config.init_network = "student"

  config.data = ConfigDict()
  config.data.dir = "~/.cache/jax_uda"  # where prepared data sets are kept; may be in a bucket
  config.data.source = ConfigDict()
  config.data.target = ConfigDict()
  config.data.crop_size = (512, 512)  # (height, width) in pixels
  config.data.crop_target = True  # False: target images come whole, all of one size
  config.data.target_scale = ()  # (least, largest) factor of target images before the crop; or none
  # The stage whose files label the target's training images: its folder, as in init_from.
  config.data.pseudo_labels = ""
  config.data.target_margins = ()  # (top, bottom, left, right) of target images, weight 0; pixels
  config.data.flip = True
  config.data.cat_max_ratio = 0.75  # largest share of one class in an accepted source crop
  config.data.rare_class = ConfigDict()  # keyword arguments of RareClassSampling; empty = uniform
  config.data.class_balanced = False  # draw source images of the classes drawn less often so far
  config.data.num_threads = 2
  config.data.cache_mbytes = 1024  # decoded images kept in memory, for each data set

  config.model = ConfigDict({"encoder": "mit_b5", "decoder": "daformer"})
  config.method = ConfigDict({"name": "daformer"})
  config.ema = ConfigDict({"decay": 0.999})  # keyword arguments of jax_uda.step.teacher.Rule
  config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 0.01})
  # Of several groups that match a parameter's path the first counts.
  config.optimizer.groups = (
    {"pattern": "^(decoder|heads)", "learning_rate": 10.0},
    {"pattern": "norm", "weight_decay": 0.0},
  )
  config.schedule = ConfigDict({"learning_rate": 6e-5, "warmup_steps": 1500, "power": 1.0})

  config.log_every_steps = 50
  config.checkpoint = ConfigDict({"every_steps": 4000, "keep": 2})
  config.eval = ConfigDict()
  config.eval.every_steps = 4000  # besides the end
  config.eval.batch_size = 1
  config.eval.window = ()  # (height, width) of the sliding window; empty = whole image
  config.eval.stride = ()
  config.eval.flip = False  # average over the image and its mirror image
  config.eval.scales = (1.0,)  # … and over these factors of its size
  config.eval.average = "logits"  # over windows; or "probabilities"
  config.eval.align_corners = False  # of the resizing of the network's output
  # A factor for each class on the probabilities of the target, but not of eval.targets; or none.
  config.eval.class_weights = ()
  # Further data sets to evaluate on: a name -> what config.data.target would be; its split `val`.
  config.eval.targets = ConfigDict()
  config.panel_images = 4  # rows of panels.png, at least 1
  config.views_every_steps = 0  # draw the method's views on the way, too; 0 = at the end alone
  config.projection = "pca"  # of embeddings to the plane, projection.png; or "tsne", or "" = none

  # A recipe of several runs: names in order; stage.<name> replaces fields of this config, and of the
  # groups data, eval, checkpoint and pseudo_label the fields that it names.
  config.stages = ()
  config.stage = ConfigDict()
  config.compare = ()  # the stages whose results the final table shows side by side
  return config


def last_step(config: ConfigDict) -> int:
  """The number of steps after which a run ends."""
  return config.stop_step or config.num_steps


# Groups whose fields are the same in every run.
MERGED = ("data", "eval", "checkpoint", "pseudo_label")

# What may change between a run and its continuation, since it does not touch the parameters.
FREE_FIELDS = (
  "log_every_steps",
  "checkpoint",
  "eval",
  "panel_images",
  "views_every_steps",
  "projection",
  "stop_step",
  "compare",
  "data.dir",
  "data.num_threads",
  "data.cache_mbytes",
)


def parse_arg(arg: str, **defaults: Any) -> ConfigDict:
  """Reads the `key=value,flag` after a recipe's colon; `flag` alone means True.

  Args:
    arg: What follows the colon in `--config=file.py:arg`.
    **defaults: The known names with their default values, whose types the given values take.

  Raises:
    ValueError: For an unknown name or a value of the wrong type.
  """
  parsed = dict(defaults)
  for item in filter(None, (part.strip() for part in (arg or "").split(","))):
    name, equals, text = item.partition("=")
    kind = type(registry.lookup(defaults, name, "<argument>"))
    try:
      if kind is bool:
        parsed[name] = {"": True, "1": True, "true": True, "0": False, "false": False}[text.lower()]
      else:
        parsed[name] = kind(text)
    except (KeyError, ValueError):
      raise ValueError(
        f"{name}={text!r} in the config's argument is not a {kind.__name__}."
      ) from None
    if not equals and kind is not bool:
      raise ValueError(f"{name} in the config's argument needs a value: {name}=….")
  return ConfigDict(parsed)


def stage_config(config: ConfigDict, name: str) -> ConfigDict:
  """The config of one stage of a recipe: `config.stage.<name>` replaces fields of `config`.

  Of the groups in `MERGED` it replaces the fields that it names; other groups are replaced as a whole.

  Raises:
    ValueError: There is no such stage, or no such field.
  """
  overrides = registry.lookup(config.stage, name, "stages")
  result = config.copy_and_resolve_references()
  result.unlock()
  result.stages, result.stage, result.compare = (), ConfigDict(), ()
  for field, value in overrides.items():
    changes = {field: value}
    group, path = result, f"config.stage.{name}"
    if field in MERGED:
      group, path, changes = result[field], f"{path}.{field}", value
    for key, new in changes.items():
      if key not in group:
        raise ValueError(f"{path}.{key} replaces no field of the config.")
      group[key] = new
  return result.lock()


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
  """The leaves of nested dicts by their path with dots; an empty dict is a leaf, too."""
  if not isinstance(value, dict) or not value:
    return {prefix: value}
  return {
    name: leaf
    for key, item in value.items()
    for name, leaf in flatten(item, f"{prefix}.{key}" if prefix else key).items()
  }


def to_plain(config: ConfigDict) -> dict[str, Any]:
  """Nested dicts, lists and scalars, as JSON would give them back."""

  def plain(value):
    if isinstance(value, dict | ConfigDict):
      return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value

  return plain(config)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
  """`field: old there, new here` of every field that decides the parameters and differs."""
  old, new = flatten(old), flatten(new)
  has_fields = lambda group: any(name.startswith(f"{group}.") for name in (*old, *new))
  fields = sorted(
    field
    for field in old.keys() | new.keys()
    if (old.get(field) != new.get(field) and not has_fields(field))
    and not any(field == free or field.startswith(f"{free}.") for free in FREE_FIELDS)
  )
  show = lambda values, field: repr(values[field]) if field in values else "nothing"
  return [f"config.{field}: {show(old, field)} there, {show(new, field)} here" for field in fields]
