"""What the command lines share: flags of a run, one-sentence errors, how JAX is set up."""

import contextlib
import errno
import io
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import app, flags, logging

from jax_uda.cli import distributed, supervisor
from jax_uda.common.registry import SettingError
from jax_uda.common.text import printable
from jax_uda.run import interruption, recipes
from jax_uda.run.config_dict import ConfigDict

T = TypeVar("T")

# Errors that say what the user can do; any other one is a fault of ours or of a library.
_MISTAKES = (ValueError, ArithmeticError, OSError, ImportError, RuntimeError)

RECIPE = flags.DEFINE_string(
  "config",
  None,
  "Recipe: its name, e.g. gta_to_cityscapes/sepico, or a file, with arguments after a colon, e.g. "
  "configs/demo.py:seed=1. Single fields are set with --config.<field>=<value>, e.g. "
  "--config.num_steps=500 or --config.model.encoder_options.remat=True.",
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
REPAIR = flags.DEFINE_bool(
  "repair",
  False,
  "Read all prepared data first, and prepare damaged ones again; for all modes that use data.",
)
_DISTRIBUTED_TIMEOUT = flags.DEFINE_integer(
  "distributed_timeout",
  300,
  "Seconds that a process of --distributed waits for the others at the start.",
  lower_bound=1,
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")

# A flag that sets a field of the recipe, and all that look like one.
_OVERRIDE = re.compile(r"--config\.([^=]+)=(.*)", re.DOTALL)
_OVERRIDE_LIKE = re.compile(r"--?(no)?config\.")

# The `--config.<field>=<value>` of a command line, in order, as (field, value).
Overrides = Sequence[tuple[str, str]]


def set_up_jax() -> None:
  """Sets JAX's compilation cache and processes as the flags say; only process 0 prints."""
  import jax  # not before the flags are known to be right: a typo should not cost a second

  if _CACHE.value and (folder := _writable(_CACHE.value)):
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

  if _DISTRIBUTED.value:
    distributed.start(_DISTRIBUTED.value, _DISTRIBUTED_TIMEOUT.value)
  if jax.process_index():
    _print_nothing()


def _writable(cache: str) -> pathlib.Path | None:
  """The folder of compiled programs; None, and a line that says so, if it cannot be written."""
  try:
    folder = pathlib.Path(cache).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
  except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home folder
    print(
      f"compiled programs are not kept: {cache} cannot be written ({error}); "
      "--compilation_cache=FOLDER names another place",
      flush=True,
    )
    return None
  return folder


def _print_nothing() -> None:
  """Discards what this process prints from now on, tables and progress bars of libraries too.

  Every process of a run computes the same numbers; process 0 alone shows them.
  """
  sys.stdout.flush()
  with open(os.devnull, "w") as nowhere:
    os.dup2(nowhere.fileno(), sys.stdout.fileno())


def require(flag: flags.FlagHolder[T | None], example: str) -> T:
  """The value of a flag.

  Raises:
    ValueError: The flag is missing; the message has an example.
  """
  if not flag.value:
    name = flag.name
    raise ValueError(f"--{name} is missing, e.g. --{name}={example} (--help lists all flags)")
  return flag.value


def recipe() -> str:
  """The value of `--config`; raises ValueError if it is missing."""
  return require(RECIPE, "configs/demo.py")


def load_recipe(name: str, overrides: Overrides) -> ConfigDict:
  """The config of a recipe, "name:arguments", with the fields that the command line sets.

  Raises:
    ValueError: There is no such recipe, or a field cannot be set; the message names the flag.
  """
  try:
    return recipes.load(name, overrides)
  except SettingError as error:
    if error.path == ("recipe",):
      raise ValueError(f"--config {error.message}") from None
    for field, text in overrides:
      if error.path[1:] == recipes.path_of(field):
        raise ValueError(f"--config.{field}={text}: {error}") from None
    raise


def config(overrides: Overrides) -> ConfigDict:
  """The config that `--config` and the overrides give; see `load_recipe`."""
  return load_recipe(recipe(), overrides)


def workdir() -> pathlib.Path:
  """The folder that `--workdir` names, with `~` expanded.

  Raises:
    ValueError: The flag is missing, or the folder is in a bucket.
  """
  folder = require(WORKDIR, "runs/demo")
  if "://" in folder:
    raise ValueError(f"--workdir={folder} must be a folder on this machine or a shared disk")
  from jax_uda.common import paths

  return paths.expanded(folder, "--workdir")


@contextlib.contextmanager
def naming_flags() -> Iterator[None]:
  """Names the flag in the error about a setting that has a flag of the same name."""
  try:
    yield
  except SettingError as error:
    name = error.path[-1] if error.path else ""
    if name not in flags.FLAGS:
      raise
    raise ValueError(f"--{SettingError(name, error.message)}") from error.__cause__


def run(main: Callable[[Overrides], None]) -> None:
  """Runs `main` after reading the flags; a mistake of the user's ends in one sentence."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 shows \u2026 instead of …
      stream.reconfigure(errors="backslashreplace")
  try:
    folder = os.getcwd()
  except FileNotFoundError:
    raise SystemExit("error: the current folder has been removed; cd to another one") from None
  if folder not in sys.path:
    sys.path.append(folder)  # for functions of the user's own, "module:name"
  if supervisor.is_needed(sys.argv[1:]):
    sys.exit(supervisor.run())
  with interruption.Interruption():
    try:
      app.run(lambda argv: _guarded(main, argv), flags_parser=_parse_flags)
    except interruption.Stopped as stopped:
      sys.stdout.flush()
      distributed.part()
      # Without what Python does at its end: a thread that still compiles would have to come back.
      interruption.leave(stopped.message)


def _parse_flags(argv: Sequence[str]) -> list[str]:
  """Reads absl's flags; what remains are the program's name, the flags that set fields, and mistakes."""
  argv = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
  overrides = [text for text in argv if _OVERRIDE_LIKE.match(text)]
  try:
    program, *others = flags.FLAGS([text for text in argv if text not in overrides])
  except flags.Error as error:
    raise SystemExit(f"error: {printable(str(error))}") from None
  return [program, *overrides, *others]


def _overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
  """The fields and values of the flags that set fields; raises ValueError for anything else."""
  pairs = []
  for text in arguments:
    if not _OVERRIDE_LIKE.match(text):
      raise ValueError(f"unknown argument {text!r}; flags look like --workdir=runs/demo")
    match = _OVERRIDE.match(text)
    if not match:
      raise ValueError(f"{text}: fields are set in the form --config.<field>=<value>")
    pairs.append((match[1], match[2]))
  return pairs


def repair(*configs: ConfigDict) -> None:
  """Does what `--repair` asks for, before the prepared data of these recipes are used."""
  if REPAIR.value:
    from jax_uda.run import prepare_data

    for recipe_config in configs:
      prepare_data.repair_recipe(recipe_config)


def sentence_of(error: Exception) -> str:
  """What the user is told of an error; of one that is not a known kind of mistake, also its type."""
  text = printable(str(error))
  if isinstance(error, OSError) and error.errno == errno.EMFILE:
    return f"{text}; allow more open files, e.g. ulimit -n 4096"
  if isinstance(error, _MISTAKES):
    return text
  return f"{type(error).__name__}: {text} (not foreseen; --traceback shows where it came from)"


def _guarded(main: Callable[[Overrides], None], argv: Sequence[str]) -> None:
  # Our own lines go to stdout; what libraries log about our errors would bury them.
  logging.set_verbosity(logging.FATAL)
  try:
    main(_overrides(argv[1:]))
  except Exception as error:
    if _TRACEBACK.value:
      raise
    if distributed.is_on():
      distributed.fail(error, sentence_of(error))
    raise SystemExit(f"error: {sentence_of(error)}") from None
