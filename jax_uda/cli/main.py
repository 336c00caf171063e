"""The command line of one recipe: its flags, and which function a mode runs."""

import functools
from typing import Any

from absl import flags

from jax_uda.cli import flags as command

flags.adopt_module_key_flags(command)

_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  [
    "train",
    "eval",
    "predict",
    "check_data",
    "prepare",
    "pseudo_label",
    "import_weights",
    "export_weights",
  ],
  "train: run or continue the recipe. eval: evaluate the newest checkpoint of the workdir again. "
  "pseudo_label: label the target's training images with the newest checkpoint, into WORKDIR/pseudo_labels. "
  "predict: write a PNG of class ids for each image in or below the folders --images into "
  "WORKDIR/predictions, as servers of test sets want them. "
  "check_data: read all files of config.data, say what is there and what is wrong, and draw samples "
  "with their labels into the workdir. export_weights: write the student and teacher of the newest "
  "checkpoint as .safetensors with the names of the reference implementations. import_weights: check a weight file against a network (--from, --encoder, …) "
  "and write it to --out as .safetensors; needs no config and no workdir. "
  "prepare: convert --dataset from --manual_dir, or the data of --config without those of single stages, or continue to.",
)
# Of import_weights alone.
_FROM = flags.DEFINE_string("from", None, "Weight file: .pth, .pt, .bin or .safetensors.")
_ENCODER = flags.DEFINE_string("encoder", None, "Whose weights they are, e.g. mit_b5.")
_DECODER = flags.DEFINE_string("decoder", "", "Of a whole model, e.g. daformer; empty: none.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "Classes of the decoder.")
_NETWORK = flags.DEFINE_enum(
  "network",
  "student",
  ["student", "teacher"],
  "Which network of a file with a training run; of --mode=predict: whose predictions.",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write to; made if missing.")

# Of predict alone.
_IMAGES = flags.DEFINE_string(
  "images",
  None,
  "Folder of images to predict, e.g. of a test set; several with commas, and * for any part of a name.",
)
_IMAGE_SUFFIX = flags.DEFINE_string(
  "image_suffix", "", "End of the stems of these images, e.g. _rgb_anon; others are left out."
)
_IDS = flags.DEFINE_enum(
  "ids",
  "train",
  ["train", "cityscapes"],
  "Written ids: those of the classes, 0, 1, 2, …, or the label ids of Cityscapes' own server.",
)
_SERVER = flags.DEFINE_enum(
  "server",
  None,
  ["dark_zurich", "acdc", "cityscapes"],
  "Write the ids that this server wants into a new folder, with a zip to hand in.",
)

# Of prepare alone.
_DATASET = flags.DEFINE_string(
  "dataset",
  None,
  "gta5, synthia, cityscapes, dark_zurich, acdc, nighttime_driving, bdd100k, mapillary or camvid, with "
  "arguments after a colon, e.g. dark_zurich:role=target,day_images or acdc:train=night/train.",
)
_MANUAL_DIR = flags.DEFINE_string(
  "manual_dir", None, "Folder of --dataset, as its archives unpack."
)
_SIZE = flags.DEFINE_string(
  "size", "", "HEIGHT,WIDTH into which images are fitted, or full; empty: as the usual recipes do."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "~/.cache/jax_uda", "Where prepared data sets are kept; config.data.dir of the runs."
)
_ON_ERROR = flags.DEFINE_enum(
  "on_error", "stop", ["stop", "skip"], "At a file that cannot be used; skip: name it and go on."
)


def _main() -> None:
  if _MODE.value == "import_weights":
    _import_weights()
    return
  if _MODE.value == "prepare":
    _prepare()
    return
  for name in ("dataset", "manual_dir", "size", "data_dir", "on_error"):
    if flags.FLAGS[name].present:
      raise ValueError(f"--{name} belongs to --mode=prepare; a run has config.data")
  for name in ("from", "encoder", "decoder", "num_classes", "out"):
    if flags.FLAGS[name].present:
      raise ValueError(
        f"--{name} belongs to --mode=import_weights; a run has config.init_weights and config.model"
      )
  command.recipe_file()
  workdir = command.workdir()
  predict = _predict_settings()
  command.set_up_jax()
  from jax_uda.run import stages

  run = {
    "train": stages.train,
    "eval": stages.evaluate,
    "predict": functools.partial(stages.predict, **predict),
    "check_data": stages.check_data,
    "pseudo_label": stages.pseudo_label,
    "export_weights": stages.export_weights,
  }[_MODE.value]
  run(command.CONFIG.value, workdir)


def _predict_settings() -> dict[str, Any]:
  if _MODE.value != "predict":
    if flags.FLAGS["network"].present:
      raise ValueError(
        "--network belongs to --mode=predict and --mode=import_weights; of config.init_weights, "
        "config.init_network says which"
      )
    for name in ("images", "image_suffix", "ids", "server"):
      if flags.FLAGS[name].present:
        raise ValueError(f"--{name} belongs to --mode=predict")
    return {}
  command.require("images", _IMAGES.value, "dark_zurich/rgb_anon/test/night")
  if _SERVER.value and flags.FLAGS["ids"].present:
    raise ValueError(f"--server={_SERVER.value} says which ids are written; leave --ids out")
  return dict(
    images=_IMAGES.value,
    suffix=_IMAGE_SUFFIX.value,
    network=_NETWORK.value,
    ids=_IDS.value,
    server=_SERVER.value or "",
  )


def _prepare() -> None:
  skip = _ON_ERROR.value == "skip"
  if command.CONFIG.present:
    for name in ("dataset", "manual_dir", "size", "data_dir"):
      if flags.FLAGS[name].present:
        raise ValueError(
          f"--{name} does not go with --config, which says what is prepared: config.data"
        )
    from jax_uda.run import prepare_data

    config = command.CONFIG.value
    prepare_data.prepare_recipe(config.data, config.eval.targets, skip=skip)
    return
  command.require("dataset", _DATASET.value, "gta5")
  command.require("manual_dir", _MANUAL_DIR.value, "/data/gta5")
  from jax_uda.common import paths
  from jax_uda.run import prepare_data

  data_dir = paths.as_path(_DATA_DIR.value, "--data_dir")
  prepare_data.prepare(
    _DATASET.value, _MANUAL_DIR.value, size=_SIZE.value, data_dir=data_dir, skip=skip
  )


def _import_weights() -> None:
  command.require("from", _FROM.value, "mit_b5.pth")
  command.require("encoder", _ENCODER.value, "mit_b5")
  command.require("out", _OUT.value, "weights")
  from jax_uda.models.weights import _convert as convert

  written, loaded = convert.convert(
    _FROM.value,
    _OUT.value,
    encoder=_ENCODER.value,
    decoder=_DECODER.value,
    num_classes=_NUM_CLASSES.value,
    network=_NETWORK.value,
  )
  print(f"{loaded}\nwritten to {written}; train with --config.init_weights={written}")


def run() -> None:
  """Runs the command line; a mistake of the user's ends in one sentence, not in a traceback."""
  command.run(_main)
