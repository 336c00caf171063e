"""What the command lines share: flags of a run, one-sentence errors, JAX's set-up."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Recipe: a file of configs/, with its arguments after a colon, e.g. configs/demo.py:seed=1. "
  "Single fields are set with --config.<field>=<value>, e.g. --config.num_steps=500.",
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, logs, results, pictures. Made if missing."
)
_CACHE = flags.DEFINE_string(
  "compilation_cache",
  "~/.cache/jax_uda/xla",
  "Folder where compiled programs are kept between runs; empty: compile anew each time.",
)

_DISTRIBUTED = flags.DEFINE_string(
  "distributed",
  None,
  "For runs of several processes, the same command on each: 'auto' on TPU pods and Slurm, else "
  "HOST:PORT,COUNT,INDEX with the address of process 0, their number, and which one this is.",
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def set_up_jax() -> None:
  """Compilation cache and processes as the flags say; only process 0 prints."""
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


def require(name: str, value: object, example: str) -> None:
  """Raises ValueError for a flag that is missing, with an example."""
  if not value:
    raise ValueError(f"--{name} is missing, e.g. --{name}={example} (--help lists all flags)")


def recipe_file() -> str:
  """The file that `--config` names, without its arguments.

  Raises:
    ValueError: `--config` or `--workdir` is missing, or there is no such file.
  """
  require("config", CONFIG.present, "configs/demo.py")
  require("workdir", WORKDIR.value, "runs/demo")
  path, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
  if not pathlib.Path(path).is_file():
    raise ValueError(f"--config={path}: there is no such file; the recipes are in configs/")
  return path


def _guarded(main: Callable[[], None], argv: Sequence[str]) -> None:
  # Our own lines go to stdout; what libraries log about our errors would bury them.
  logging.set_verbosity(logging.FATAL)
  try:
    if len(argv) > 1:
      raise ValueError(f"unknown argument {argv[1]!r}; flags look like --workdir=runs/demo")
    main()
  except (ValueError, ArithmeticError, OSError, ImportError, RuntimeError) as error:
    if _TRACEBACK.value:
      raise
    raise SystemExit(f"error: {error}") from None
  except KeyboardInterrupt:
    raise SystemExit("interrupted; the same command continues") from None


def sentence(error: BaseException) -> str:
  """The message under the wrappings of absl and ml_collections, without tracebacks."""
  while error.args and isinstance(error.args[0], BaseException):
    error = error.args[0]
  text = str(error.args[0] if error.args else error).strip()
  if "Traceback" in text:
    return text.splitlines()[-1].strip().removeprefix("ValueError: ")
  if isinstance(error, KeyError):  # of a locked config: 'name'\nDid you mean …
    return f"the config has no field {'. '.join(text.splitlines())}"
  return " ".join(line.strip() for line in text.splitlines())


def workdir() -> pathlib.Path:
  """The folder that `--workdir` names, with `~` expanded; raises ValueError if it is in a bucket."""
  if "://" in WORKDIR.value:
    raise ValueError(f"--workdir={WORKDIR.value} must be a folder on this machine or a shared disk")
  return pathlib.Path(WORKDIR.value).expanduser()


def _parse_flags(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
    raise SystemExit(f"error: {sentence(error)}") from None


def run(main: Callable[[], None]) -> None:
  """Runs `main` after reading the flags; a mistake of the user's ends in one sentence."""
  app.run(lambda argv: _guarded(main, argv), flags_parser=_parse_flags)
