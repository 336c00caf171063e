"""What the command lines share: flags of a run, one-sentence errors, how JAX is set up."""

import contextlib
import errno
import io
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import app, flags, logging

from jax_uda.cli import distributed, supervisor
from jax_uda.common import disk_errors
from jax_uda.common.registry import SettingError
from jax_uda.common.text import printable
from jax_uda.run import interruption, recipes, saved_config
from jax_uda.run.config_dict import ConfigDict

T = TypeVar("T")
Flag = flags.FlagHolder

# Errors that say what the user can do; any other one is a fault of ours or of a library.
_MISTAKES = (ValueError, ArithmeticError, OSError, ImportError, RuntimeError)

RECIPE = flags.DEFINE_string(
  "config",
  None,
  "Recipe: its name, e.g. gta_to_cityscapes/sepico, or a file, with arguments after a colon, e.g. "
  "configs/demo.py:seed=1, or the config.json of a run. Single fields are set with "
  "--config.<field>=<value>, e.g. --config.num_steps=500 or --config.model.encoder_options.remat=True. "
  "Without it, the config is that of the run in the workdir.",
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, logs, results, pictures. Made if missing."
)
CACHE = flags.DEFINE_string(
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

# The `--config.<field>=<value>` of a command line, in order, as (field, value).
Overrides = Sequence[tuple[str, str]]


def set_up_jax() -> None:
  """Sets JAX's compilation cache and processes as the flags say; only process 0 prints."""
  import jax  # not before the flags are known to be right: a typo should not cost a second

  if CACHE.value and (folder := _writable(CACHE.value)):
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


def _print_nothing(*, flush: bool = True) -> None:
  """Discards what this process prints from now on, tables and progress bars of libraries too.

  Every process of a run computes the same numbers; process 0 alone shows them.
  """
  if flush:
    sys.stdout.flush()
  with open(os.devnull, "w") as nowhere:
    os.dup2(nowhere.fileno(), sys.stdout.fileno())


def show(text: str) -> None:
  """Prints a text; whoever reads it, as `head` does, may stop before its end."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    _print_nothing(flush=False)


def require(flag: flags.FlagHolder[T | None], example: str) -> T:
  """The value of a flag.

  Raises:
    ValueError: The flag is missing; the message has an example.
  """
  if not flag.value:
    name = flag.name
    raise ValueError(f"--{name} is missing, e.g. --{name}={example} (--help lists all flags)")
  return flag.value


def is_present(flag: Flag) -> bool:
  """Whether the user gave a flag, and not its default alone."""
  return bool(flags.FLAGS[flag.name].present)


def set_flag(flag: Flag, value: str) -> None:
  """Gives a flag a value, as if the user had."""
  setattr(flags.FLAGS, flag.name, value)


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
  """The config that `--config` and the overrides give, or that of the run in `--workdir`; see `load_recipe`."""
  if (
    not RECIPE.value
    and WORKDIR.value
    and saved_config.is_run(pathlib.Path(WORKDIR.value).expanduser())
  ):
    return load_recipe(WORKDIR.value, overrides)
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


def run(main: Callable[[T], None], parse: Callable[[Sequence[str]], T]) -> None:
  """Runs `main` on what `parse` makes of the command line; a mistake of the user's ends in one sentence.

  Args:
    main: The program.
    parse: Sets absl's flags from the command line, and returns what `main` takes.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 shows \u2026 instead of …
      stream.reconfigure(errors="backslashreplace")
  try:
    folder = os.getcwd()
  except FileNotFoundError:
    raise SystemExit("error: the current folder has been removed; cd to another one") from None
  if folder not in sys.path:
    sys.path.append(folder)  # for functions of the user's own, "module:name"
  sys.unraisablehook = _drop
  if supervisor.is_needed(sys.argv[1:]):
    sys.exit(supervisor.run())
  with interruption.Interruption():
    try:
      calls: list[T] = []

      def read_flags(argv: Sequence[str]) -> list[str]:
        try:
          calls.append(parse(argv))
        except ValueError as error:
          raise SystemExit(f"error: {sentence_of(error)}") from None
        return list(argv[:1])

      app.run(lambda _: _guarded(main, calls[0]), flags_parser=read_flags)
    except interruption.Stopped as stopped:
      sys.stdout.flush()
      distributed.part()
      # Without what Python does at its end: a thread that still compiles would have to come back.
      interruption.leave(stopped.message)


def _drop(unraisable: "sys.UnraisableHookArgs") -> None:
  """Python's hook for errors that it cannot raise: shown with --traceback alone.

  After a write that failed, dozens come from callbacks of the storage; the sentence about it is enough.
  """
  if flags.FLAGS.is_parsed() and _TRACEBACK.value:
    sys.__unraisablehook__(unraisable)


def repair(*configs: ConfigDict) -> None:
  """Does what `--repair` asks for, before the prepared data of these recipes are used."""
  if REPAIR.value:
    from jax_uda.run import prepare_data

    for recipe_config in configs:
      prepare_data.repair_recipe(recipe_config)


def sentence_of(error: Exception) -> str:
  """What the user is told of an error; of one that is not a known kind of mistake, also its type."""
  text = printable(str(error))
  if isinstance(error, OSError):
    if error.errno == errno.EMFILE:
      return f"{text}; allow more open files, e.g. ulimit -n 4096"
    text = disk_errors.sentence(error) or text
  if isinstance(error, _MISTAKES):
    return text
  return f"{type(error).__name__}: {text} (not foreseen; --traceback shows where it came from)"


def _guarded(main: Callable[[T], None], call: T) -> None:
  # Our own lines go to stdout; what libraries log about our errors would bury them.
  logging.set_verbosity(logging.FATAL)
  try:
    main(call)
  except Exception as error:
    if _TRACEBACK.value:
      raise
    if distributed.is_on():
      distributed.fail(error, sentence_of(error))
    raise SystemExit(f"error: {sentence_of(error)}") from None
