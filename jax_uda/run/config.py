"""The fields of a run and their defaults, and the configs of a recipe's stages.

A recipe (a file in `configs/`) starts from `default()` and states what differs.
"""

from typing import Any

from jax_uda.common import registry
from jax_uda.run import changes
from jax_uda.run.config_dict import ConfigDict

# Groups that become the keyword arguments of a function, which refuses those that it does not know.
# They may get fields that the defaults do not have; other groups may not.
KEYWORD_GROUPS = (
  ("data", "source"),
  ("data", "target"),
  ("data", "rare_class"),
  ("model",),
  ("method",),
  ("ema",),
  ("optimizer",),
  ("schedule",),
  ("eval", "targets"),
)


class Stages(ConfigDict):
  """The stages of a recipe by name, in the order in which they were added.

  A plain ConfigDict sorts its fields. Stages are added one by one, `config.stages.warm_up = {...}`;
  a plain dict in place of the whole is refused with a TypeError.
  """

  def __init__(self, initial_dictionary: Any = None, **options: Any):
    """Takes the arguments of a ConfigDict but for `sort_keys`."""
    super().__init__(initial_dictionary, **(options | {"sort_keys": False}))


def default() -> ConfigDict:
  """DAFormer's training settings; data, model and method are left to the recipe."""
  config = ConfigDict()
  config.seed = 0  # root of all random numbers of training
  config.num_steps = 40_000  # length of the learning-rate schedule
  config.stop_step = 0  # the step after which the run ends; 0 = num_steps
  config.batch_size = 2  # source images and as many target images per step, over all devices
  # Whether a step takes its gradient group by group of terms that share no pass: the same up to rounding,
  # in less memory.
  config.gradient_by_groups = False
  # "auto" is bfloat16 on GPUs and TPUs, else float32. Parameters, statistics and losses stay float32.
  config.compute_dtype = "auto"
  config.fsdp = 1  # over how many devices each network and the optimizer's state are split
  config.devices = 0  # how many of the devices share a batch, over all processes; 0 = all

  # "train", or "pseudo_label": a stage that labels the target's training images with the student of
  # init_from, for the data.pseudo_labels of later stages.
  config.task = "train"
  config.pseudo_label = _pseudo_label_defaults()

  # Start from another run: its folder, absolute or relative to the parent of the workdir.
  # init_carry "weights": student and teacher start from its student, at step 0.
  # init_carry "run": step, student, teacher and optimizer continue; the objectives' state and
  # the auxiliary networks are new.
  config.init_from = ""
  config.init_carry = "weights"
  # Another run whose auxiliary networks (CONFETI's translator) this run begins with; named as in
  # init_from.
  config.init_auxiliary = ""

  # Or start from a weight file, PyTorch's or .safetensors; "package:NAME/…" lies in an installed
  # package. Parts that the file does not have start at random. A run with init_from ignores it, so
  # only the first of several stages reads it. init_network says which network of a training run's
  # file is read: "student" or "teacher".
  config.init_weights = ""  # "random": random networks are meant; so is "", unless init_required
  config.init_network = "student"
  config.init_required = (
    False  # whether a run without init_from and without init_weights is refused
  )

  config.data = _data_defaults()
  config.model = ConfigDict({"encoder": "mit_b5", "decoder": "daformer"})
  config.method = ConfigDict({"name": "daformer"})
  config.ema = ConfigDict({"decay": 0.999})  # keyword arguments of jax_uda.step.teacher.Rule
  config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 0.01})
  # If several groups match a parameter's path, the first one counts.
  config.optimizer.groups = (
    {"pattern": "^(decoder|heads)", "learning_rate": 10.0},
    {"pattern": "norm", "weight_decay": 0.0},
  )
  config.schedule = ConfigDict({"learning_rate": 6e-5, "warmup_steps": 1500, "power": 1.0})

  # When a loss or the gradient of a step is not finite: "stop"; "skip" leaves the networks as they
  # were before that step; "rollback" goes back to the last checkpoint and leaves the batch out.
  # The run stops after more than max_skips in a row.
  config.on_nonfinite = "stop"
  config.max_skips = 10  # so many steps or batches in a row may be left out for that

  config.log_every_steps = 50  # steps between two lines of the log; 0 = at the end only
  # The state is saved every so many steps and every so many minutes, whichever comes first (0: not),
  # before an evaluation, and when the run is told to stop.
  config.checkpoint = ConfigDict({"every_steps": 4000, "every_minutes": 10.0, "keep": 2})
  config.eval = _evaluation_defaults()
  config.panel_images = 4  # rows of panels.png, at least 1
  config.views_every_steps = (
    0  # steps between two pictures of the method's views; 0 = at the end alone
  )
  # How projection.png maps embeddings to the plane: "pca", "tsne", or "" = it is not drawn.
  config.projection = "pca"

  # A recipe of several runs: what each stage changes in this config (see `stage_config`).
  config.stages = Stages()
  # The checkpoint that is reported, predicted with, exported, and handed to later stages: "last", or
  # "best_on_target", the one with the best mIoU on the target's validation images at any evaluation.
  # The latter is an oracle: it is chosen with the target's labels. Both are then in results.json.
  config.report = "last"
  config.compare = ()  # the stages whose results the final table shows side by side
  return config


def _pseudo_label_defaults() -> ConfigDict:
  """The group `pseudo_label`."""
  labels = ConfigDict()
  # A pixel is labelled if its confidence reaches the median confidence of its predicted class, or
  # this cap where the median is larger.
  labels.cap = 0.9
  labels.label_size = ()  # (height, width) of the label maps; empty = the images'
  labels.align_corners = True  # corner alignment when logits are resized
  # Medians are exact if the training images have up to so many pixels in all; else a histogram
  # estimates them.
  labels.exact_pixels = 2**26
  return labels


def _data_defaults() -> ConfigDict:
  """The group `data`; its data sets are left to the recipe."""
  data = ConfigDict()
  data.dir = "~/.cache/jax_uda"  # where prepared data sets are kept; may be in a bucket
  # How files of data sets are stored: "resized" as batches show them; "original" as the files are, resized
  # when they are read, with the same result; "auto": the form that is prepared, else the smaller one.
  data.store = "auto"
  data.source = ConfigDict()
  data.target = ConfigDict()
  # Several sets in place of one: each is drawn as often as it has images or, if all have a field `share`, in
  # proportion to that. `source` and `target` are then the first ones.
  data.sources = ()
  data.targets = ()
  data.crop_size = (512, 512)  # (height, width) in pixels
  data.crop_target = (
    True  # whether target images are cropped; False: target images come whole, all of one size
  )
  # (least, largest) factor by which images are resized before the crop; empty = not resized
  data.source_scale = ()
  data.target_scale = ()
  # The stage whose files label the target's training images: its folder, as in init_from.
  data.pseudo_labels = ""
  # Pixels at the (top, bottom, left, right) of target images that get weight 0; below 1: shares of the image.
  data.target_margins = ()
  data.flip = True  # whether half of the crops are mirrored
  data.cat_max_ratio = 0.75  # largest share of one class in an accepted source crop
  data.rare_class = ConfigDict()  # keyword arguments of RareClassSampling; empty = uniform
  data.class_balanced = False  # whether to prefer source images with the classes drawn least so far
  data.num_threads = 2  # threads that make batches ahead
  data.cache_mbytes = 1024  # decoded images kept in memory, per data set
  return data


def _evaluation_defaults() -> ConfigDict:
  """The group `eval`."""
  evaluation = ConfigDict()
  evaluation.every_steps = 4000  # steps between two evaluations; there is always one at the end
  # What is scored at the end: "student", "teacher" or both. Papers report the student.
  evaluation.networks = ("student", "teacher")
  evaluation.midway_networks = ("student",)  # what is scored on the way
  evaluation.source = True  # at the end, the source's validation images are scored, too
  evaluation.batch_size = 1  # images that are predicted together
  evaluation.window = ()  # (height, width) of the sliding window; empty = whole image
  evaluation.stride = ()  # (down, right) in pixels between windows
  evaluation.flip = False  # whether to average over the image and its mirror image
  evaluation.scales = (
    1.0,
  )  # the prediction is the average over the image resized by these factors
  evaluation.average = "logits"  # what is averaged over windows: "logits" or "probabilities"
  evaluation.align_corners = False  # corner alignment when the network's output is resized
  # What the network sees at once is padded up to multiples of so many pixels; 1 pads only what the network
  # refuses. 64 needs fewer programs for images of many sizes, and changes predictions a little.
  evaluation.grid = 1
  evaluation.whole_pixels = 2**22  # an image of more pixels is predicted in overlapping tiles
  # Factors, one per class, on the probabilities of the target but not of eval.targets; or empty.
  evaluation.class_weights = ()
  # (height, width) to which the target's labels are resized before counting; ("short", 1024): the shorter side of
  # the labels of all its sets (VFM-UDA++); empty = as they are stored.
  evaluation.label_size = ()
  # A class in neither labels nor predictions: "left_out" of means, or "zero" (VFM-UDA++).
  evaluation.absent_classes = "left_out"
  # Further data sets to evaluate on: their split `val`, by name, each as in config.data.target.
  evaluation.targets = ConfigDict()
  return evaluation


def fill_data_sets(config: ConfigDict) -> None:
  """Sets `data.source` and `data.target` to the first of `data.sources` and `data.targets`, in place.

  Raises:
    SettingError: They are set, and to something else.
  """
  for domain in ("source", "target"):
    listed = tuple(config.data.get(f"{domain}s", ()))
    if not listed:
      continue
    first = ConfigDict(dict(listed[0]))
    if config.data[domain] and config.data[domain].to_dict() != first.to_dict():
      raise registry.SettingError(
        ("data", domain), f"is set, and is not the first of config.data.{domain}s: leave it empty."
      )
    config.data[domain] = first


def last_step(config: ConfigDict) -> int:
  """The number of steps after which a run ends."""
  return config.stop_step if config.stop_step > 0 else config.num_steps


def may_add(path: tuple[str, ...]) -> bool:
  """Whether the field at `path` may be added to a config that does not have it."""
  return any(path[: len(group)] == group and len(path) > len(group) for group in KEYWORD_GROUPS)


def stage_config(config: ConfigDict, name: str) -> ConfigDict:
  """The config of one stage: the recipe's, with the changes of `config.stages.<name>` merged in.

  Nested groups are merged field by field; a group made by `changes.replace` replaces the recipe's.

  Raises:
    SettingError: There is no such stage, or no such field.
  """
  stage_changes = registry.lookup(config.stages, name, "config.stages")
  stage = config.copy_and_resolve_references().unlock()
  stage.stages, stage.compare = Stages(), ()
  with registry.within("config", "stages", name):
    changes.merge(stage, stage_changes.copy_and_resolve_references(), accepts=may_add)
  return stage.lock()


def stage_configs(config: ConfigDict) -> dict[str, ConfigDict]:
  """The configs of all stages by name, in order; empty for a recipe of one run."""
  return {name: stage_config(config, name) for name in config.stages}
