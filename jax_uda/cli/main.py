"""The command line of one recipe: its flags, and the function that each mode runs."""

import functools
import os
import sys
from typing import Any

from absl import flags

from jax_uda.cli import command, host_memory

flags.adopt_module_key_flags(command)

MODES = {
  "train": "run or continue the recipe",
  "eval": "evaluate the newest checkpoint of the workdir again",
  "predict": "write a PNG of class ids for each image of --images into WORKDIR/predictions; with --server, "
  "as the server of a test set wants them",
  "check_data": "read all files of config.data, report what is there and what is wrong, and draw "
  "samples with their labels into the workdir",
  "prepare": "convert --dataset from --manual_dir, or the data sets that --config names outside its "
  "stages; an interrupted conversion continues",
  "pseudo_label": "label the target's training images with the newest checkpoint, into "
  "WORKDIR/pseudo_labels",
  "import_weights": "check a weight file against a network (--from, --encoder, …) and write it to "
  "--out as .safetensors; this needs no config and no workdir",
  "report": "write WORKDIR/report.html of the runs there, finished or not: results, images, curves; with "
  "--watch again and again",
  "plan": "compile the steps of the recipe from shapes alone, for this machine's devices or for --topology, "
  "and say what they need: memory, operations, exchanges, a bound of their time; needs no data, and a "
  "workdir only to write plan.json",
  "export_weights": "write the student and teacher of the newest checkpoint as .safetensors, with the "
  "names of the reference implementations",
}

_MODE = flags.DEFINE_enum(
  "mode", "train", list(MODES), ". ".join(f"{mode}: {text}" for mode, text in MODES.items()) + "."
)

# --- import_weights ---
_FROM = flags.DEFINE_string(
  "from", None, "import_weights: file that is read: .pth, .pt, .bin or .safetensors."
)
_ENCODER = flags.DEFINE_string(
  "encoder", None, "import_weights: encoder that the weights belong to, e.g. mit_b5."
)
_DECODER = flags.DEFINE_string(
  "decoder", "", "import_weights: decoder in the file of a whole model, e.g. daformer; empty: none."
)
_NUM_CLASSES = flags.DEFINE_integer(
  "num_classes", 19, "import_weights: number of classes of the decoder."
)
_NETWORK = flags.DEFINE_enum(
  "network",
  "student",
  ["student", "teacher"],
  "import_weights: network to read from the file of a training run; predict: network that predicts.",
)
_OUT = flags.DEFINE_string("out", None, "import_weights: folder to write to; made if missing.")

# --- report ---
_WATCH = flags.DEFINE_bool("watch", False, "report: write the page anew every 20 seconds.")

# --- plan ---
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  "",
  "plan: TPU slice to plan for, which need not be there, e.g. v5e:4x4; needs the extra `plan`.",
)

# --- predict ---
_IMAGES = flags.DEFINE_string(
  "images",
  None,
  "predict: image files, folders of images, e.g. of a test set, or a list of them, @list.txt; several with "
  "commas, and * for any part of a name.",
)
_IMAGE_SUFFIX = flags.DEFINE_string(
  "image_suffix",
  "",
  "predict: how the names of images in folders end before the dot, e.g. _rgb_anon; others are left out.",
)
_IDS = flags.DEFINE_enum(
  "ids",
  "train",
  ["train", "cityscapes"],
  "predict: the ids that are written, train ids 0, 1, 2, …, or Cityscapes' label ids, which its server wants.",
)
_SERVER = flags.DEFINE_enum(
  "server",
  None,
  ["dark_zurich", "acdc", "cityscapes"],
  "predict: write the ids that this server wants into a new folder, with a zip to hand in.",
)

# --- prepare ---
_DATASET = flags.DEFINE_string(
  "dataset",
  None,
  "prepare: gta5, synthia, synscapes, cityscapes, dark_zurich, acdc, nighttime_driving, bdd100k, mapillary, "
  "wilddash2 or camvid, with arguments after a colon, e.g. dark_zurich:role=target,day_images or acdc:train=night/train.",
)
_MANUAL_DIR = flags.DEFINE_string(
  "manual_dir", None, "prepare: folder of --dataset, as its archives unpack."
)
_SIZE = flags.DEFINE_string(
  "size",
  "",
  "prepare: HEIGHT,WIDTH into which images are fitted, or full; empty: as the usual recipes do.",
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir",
  "~/.cache/jax_uda",
  "prepare: folder of the prepared data sets; config.data.dir of the runs.",
)
_ON_ERROR = flags.DEFINE_enum(
  "on_error",
  "stop",
  ["stop", "skip"],
  "prepare: what to do at a file that cannot be used; skip: name it and go on.",
)


def _main(overrides: command.Overrides) -> None:
  if _MODE.value == "import_weights":
    _import_weights()
    return
  if _MODE.value == "prepare":
    _prepare(overrides)
    return
  for name in ("dataset", "manual_dir", "size", "data_dir", "on_error"):
    if flags.FLAGS[name].present:
      raise ValueError(f"--{name} belongs to --mode=prepare; a run has config.data")
  for name in ("from", "encoder", "decoder", "num_classes", "out"):
    if flags.FLAGS[name].present:
      raise ValueError(
        f"--{name} belongs to --mode=import_weights; a run has config.init_weights and config.model"
      )
  command.recipe()
  if _MODE.value == "plan":
    _plan(overrides)
    return
  for name, mode in (("topology", "plan"), ("watch", "report")):
    if flags.FLAGS[name].present and _MODE.value != mode:
      raise ValueError(f"--{name} belongs to --mode={mode}")
  workdir = command.workdir()
  predict = _predict_settings()
  config = command.config(overrides)
  command.set_up_jax()
  command.repair(config)
  from jax_uda.run import stages

  run = {
    "train": stages.train,
    "eval": stages.evaluate,
    "predict": functools.partial(stages.predict, **predict),
    "check_data": stages.check_data,
    "pseudo_label": stages.pseudo_label,
    "export_weights": stages.export_weights,
    "report": functools.partial(stages.report, watch=_WATCH.value),
  }[_MODE.value]
  run(config, workdir)


def _plan(overrides: command.Overrides) -> None:
  config = command.config(overrides)
  if _TOPOLOGY.value:  # this machine compiles only; it may have no accelerator
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
  command.set_up_jax()
  from jax_uda.run.plan import recipe

  workdir = command.workdir() if command.WORKDIR.value else None
  with command.naming_flags():
    recipe.write(config, command.recipe(), topology=_TOPOLOGY.value, workdir=workdir)


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
  images = command.require(_IMAGES, "dark_zurich/rgb_anon/test/night")
  if _SERVER.value and flags.FLAGS["ids"].present:
    raise ValueError(f"--server={_SERVER.value} says which ids are written; leave --ids out")
  return dict(
    images=images,
    suffix=_IMAGE_SUFFIX.value,
    network=_NETWORK.value,
    ids=_IDS.value,
    server=_SERVER.value or "",
  )


def _prepare(overrides: command.Overrides) -> None:
  skip = _ON_ERROR.value == "skip"
  if command.RECIPE.value:
    for name in ("dataset", "manual_dir", "size", "data_dir"):
      if flags.FLAGS[name].present:
        raise ValueError(
          f"--{name} does not go with --config, which says what is prepared: config.data"
        )
    from jax_uda.run import prepare_data

    config = command.config(overrides)
    repair = command.REPAIR.value
    prepare_data.prepare_recipe(config.data, config.eval.targets, skip=skip, repair=repair)
    return
  dataset = command.require(_DATASET, "gta5")
  manual_dir = command.require(_MANUAL_DIR, "/data/gta5")
  from jax_uda.common import paths
  from jax_uda.run import prepare_data

  data_dir = paths.as_path(_DATA_DIR.value, "--data_dir")
  prepare_data.prepare(
    dataset,
    manual_dir,
    size=_SIZE.value,
    data_dir=data_dir,
    skip=skip,
    repair=command.REPAIR.value,
  )


def _import_weights() -> None:
  file = command.require(_FROM, "mit_b5.pth")
  encoder = command.require(_ENCODER, "mit_b5")
  folder = command.require(_OUT, "weights")
  from jax_uda.models.weights import _convert as convert

  with command.naming_flags():
    written, loaded = convert.convert(
      file,
      folder,
      encoder=encoder,
      decoder=_DECODER.value,
      num_classes=_NUM_CLASSES.value,
      network=_NETWORK.value,
    )
  print(f"{loaded}\nwritten to {written}; train with --config.init_weights={written}")


def run() -> None:
  """Runs the command line; a mistake of the user's ends in one sentence, not in a traceback."""
  host_memory.use_huge_pages()
  for flag in flags.FLAGS.get_key_flags_for_module(__name__):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # so that --help lists them
  command.run(_main)


if __name__ == "__main__":
  run()
