"""The command line: flags, one-sentence errors, and which function a mode runs."""

import functools
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Recipe: a file of configs/, with its arguments after a colon, e.g. configs/demo.py:seed=1. "
  "Single fields are set with --config.<field>=<value>, e.g. --config.num_steps=500.",
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, logs, results, pictures. Made if missing."
)
_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  ["train", "eval", "predict", "check_data", "pseudo_label", "import_weights", "export_weights"],
  "train: run or continue the recipe. eval: evaluate the newest checkpoint of the workdir again. "
  "pseudo_label: label the target's training images with it, into WORKDIR/pseudo_labels. "
  "predict: write a PNG of class ids for each image in or below the folder --images into "
  "WORKDIR/predictions, as servers of test sets want them. "
  "check_data: read all files of config.data, say what is there and what is wrong, and draw samples "
  "with their labels into the workdir. export_weights: write its student and teacher as "
  ".safetensors with the names of the reference implementations. import_weights: check a weight file against a network (--from, --encoder, …) "
  "and write it to --out as .safetensors; needs no config and no workdir.",
)
_CACHE = flags.DEFINE_string(
  "compilation_cache",
  "~/.cache/jax_uda/xla",
  "Folder where compiled programs are kept between runs; empty: compile anew each time.",
)

# Of import_weights alone.
_FROM = flags.DEFINE_string("from", None, "Weight file: .pth, .pt, .bin or .safetensors.")
_ENCODER = flags.DEFINE_string("encoder", None, "Whose weights they are, e.g. mit_b5.")
_DECODER = flags.DEFINE_string("decoder", "", "Of a whole model, e.g. daformer; empty: none.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "Of the decoder.")
_NETWORK = flags.DEFINE_enum(
  "network",
  "student",
  ["student", "teacher"],
  "Which network of a file with a training run; of --mode=predict: whose predictions.",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write to; made if missing.")

# Of predict alone.
_IMAGES = flags.DEFINE_string("images", None, "Folder of images to predict, e.g. of a test set.")
_IMAGE_SUFFIX = flags.DEFINE_string(
  "image_suffix", "", "End of the stems of these images, e.g. _rgb_anon; others are left out."
)
_IDS = flags.DEFINE_enum(
  "ids",
  "train",
  ["train", "cityscapes"],
  "Written ids: those of the classes, 0, 1, 2, …, or the label ids of Cityscapes' own server.",
)

_DISTRIBUTED = flags.DEFINE_string(
  "distributed",
  None,
  "For runs of several processes, the same command on each: 'auto' on TPU pods and Slurm, else "
  "HOST:PORT,COUNT,INDEX with the address of process 0, their number, and which one this is.",
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def _set_up_jax() -> None:
  import jax  # not before the flags are known to be right: a typo should not cost a second

  if _CACHE.value:
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(_CACHE.value).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

  if _DISTRIBUTED.value == "auto":
    jax.distributed.initialize()
  elif _DISTRIBUTED.value:
    try:
      address, count, index = _DISTRIBUTED.value.split(",")
      jax.distributed.initialize(address, int(count), int(index))
    except ValueError as error:
      raise ValueError(
        f"--distributed={_DISTRIBUTED.value} is neither 'auto' nor HOST:PORT,COUNT,INDEX: {error}"
      ) from None
  if jax.process_index():
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 — to the end; process 0 speaks for all


def _require(name: str, value: object, example: str) -> None:
  if not value:
    raise ValueError(f"--{name} is missing, e.g. --{name}={example} (--help lists all flags)")


def _run_mode(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise ValueError(f"unknown argument {argv[1]!r}; flags look like --workdir=runs/demo")
  if _MODE.value == "import_weights":
    _import_weights()
    return
  for name in ("from", "encoder", "decoder", "out"):
    if flags.FLAGS[name].present:
      raise ValueError(
        f"--{name} belongs to --mode=import_weights; a run has config.init_weights and config.model"
      )
  _require("config", _CONFIG.present, "configs/demo.py")
  _require("workdir", _WORKDIR.value, "runs/demo")
  predict = _predict_settings()
  path, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
  if not pathlib.Path(path).is_file():
    raise ValueError(f"--config={path}: there is no such file; the recipes are in configs/")
  _set_up_jax()
  from jax_uda import recipe

  run = {
    "train": recipe.train,
    "eval": recipe.evaluate,
    "predict": functools.partial(recipe.predict, **predict),
    "check_data": recipe.check_data,
    "pseudo_label": recipe.pseudo_label,
    "export_weights": recipe.export_weights,
  }[_MODE.value]
  run(_CONFIG.value, pathlib.Path(_WORKDIR.value))


def _predict_settings() -> dict[str, Any]:
  if _MODE.value != "predict":
    for name in ("images", "image_suffix", "ids"):
      if flags.FLAGS[name].present:
        raise ValueError(f"--{name} belongs to --mode=predict")
    return {}
  _require("images", _IMAGES.value, "dark_zurich/rgb_anon/test/night")
  return dict(
    images=pathlib.Path(_IMAGES.value).expanduser(),
    suffix=_IMAGE_SUFFIX.value,
    network=_NETWORK.value,
    ids=_IDS.value,
  )


def _import_weights() -> None:
  _require("from", _FROM.value, "mit_b5.pth")
  _require("encoder", _ENCODER.value, "mit_b5")
  _require("out", _OUT.value, "weights")
  from jax_uda.models.weights import convert

  written, loaded = convert.convert(
    _FROM.value,
    _OUT.value,
    encoder=_ENCODER.value,
    decoder=_DECODER.value,
    num_classes=_NUM_CLASSES.value,
    network=_NETWORK.value,
  )
  print(f"{loaded}\nwritten to {written}; train with --config.init_weights={written}")


def _main(argv: Sequence[str]) -> None:
  # Our own lines go to stdout; what libraries log about our errors would bury them.
  logging.set_verbosity(logging.FATAL)
  try:
    _run_mode(argv)
  except (ValueError, ArithmeticError, OSError, ImportError, RuntimeError) as error:
    if _TRACEBACK.value:
      raise
    raise SystemExit(f"error: {error}") from None
  except KeyboardInterrupt:
    raise SystemExit("interrupted; the same command continues from the last checkpoint") from None


def _sentence(error: BaseException) -> str:
  """The message under the wrappings of absl and ml_collections, without tracebacks."""
  while error.args and isinstance(error.args[0], BaseException):
    error = error.args[0]
  text = str(error.args[0] if error.args else error).strip()
  if "Traceback" in text:
    return text.splitlines()[-1].strip().removeprefix("ValueError: ")
  if isinstance(error, KeyError):  # of a locked config: 'name'\nDid you mean …
    return f"the config has no field {'. '.join(text.splitlines())}"
  return " ".join(line.strip() for line in text.splitlines())


def _parse_flags(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
    raise SystemExit(f"error: {_sentence(error)}") from None


def run() -> None:
  """Runs the command line; a mistake of the user's ends in one sentence, not in a traceback."""
  app.run(_main, flags_parser=_parse_flags)
