"""From the words of a command line to a call: the command, its words, and the fields that are set.

Flags are absl's. Both forms, `jax-uda train demo …` and `main.py --mode=train --config=demo …`, are read here.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from jax_uda.cli import command, commands, help_text, options
from jax_uda.common.text import printable

# A flag that sets a field of the recipe, and all that look like one.
_OVERRIDE = re.compile(r"--config\.([^=]+)=(.*)", re.DOTALL)
_OVERRIDE_LIKE = re.compile(r"--?(no)?config\.")
_HELP = ("-h", "--h", "-help", "--help", "-?")


class Call(NamedTuple):
  """What a command line asks for.

  Attributes:
    name: A key of `commands.COMMANDS`.
    words: The words behind it that are no flags; those of the form with --mode are mistakes.
    overrides: The fields that are set, and their values as texts.
    as_mode: Whether the command came as --mode, or not at all.
  """

  name: str
  words: tuple[str, ...]
  overrides: command.Overrides
  as_mode: bool


def parse(argv: Sequence[str]) -> Call:
  """Reads a command line into absl's flags and a call.

  Raises:
    SystemExit: For help, or because a flag is unknown.
    ValueError: There is no such command, or a field is set in another form.
  """
  program, *arguments = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
  name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
  if name == "help":
    name, arguments = (arguments or [""])[0], ["--help"]
  as_mode = not name
  if any(text in _HELP for text in arguments) or (as_mode and not arguments):
    command.show(help_text.of_command(commands.find(name)) if name else help_text.overview())
    raise SystemExit(0)
  overrides = [text for text in arguments if _OVERRIDE_LIKE.match(text)]
  others = [text for text in arguments if text not in overrides]
  if not as_mode:
    if name.endswith(".py") or "=" in name:
      raise ValueError(f"unknown argument {name!r}; flags look like --workdir=runs/demo")
    name = commands.find(name)
    flags.FLAGS.set_gnu_getopt(True)  # words may stand between flags
    others = [_with_underscores(text) for text in others]
  try:
    words = flags.FLAGS([program, *others])[1:]
  except flags.Error as error:
    raise SystemExit(f"error: {printable(str(error))}") from None
  if as_mode:
    name = commands.MODES[options.MODE.value]
  return Call(name, tuple(words), _pairs(overrides), as_mode)


def _with_underscores(text: str) -> str:
  """`--image-suffix=x-y` as `--image_suffix=x-y`."""
  name, equals, value = text.partition("=")
  dashes = name[: len(name) - len(name.lstrip("-"))]
  return f"{dashes}{name.lstrip('-').replace('-', '_')}{equals}{value}" if dashes else text


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
  """The fields and values of the flags that set fields; raises ValueError for another form."""
  pairs = []
  for text in arguments:
    match = _OVERRIDE.match(text)
    if not match:
      raise ValueError(f"{text}: fields are set in the form --config.<field>=<value>")
    pairs.append((match[1], match[2]))
  return pairs


def check_flags(call: Call) -> None:
  """Raises ValueError for a flag that belongs to another command."""
  allowed = {*commands.COMMANDS[call.name].flags, *commands.EVERYWHERE}
  known = {name for item in commands.COMMANDS.values() for name in item.flags}
  for name in sorted(known - allowed):
    if flags.FLAGS[name].present:
      raise ValueError(commands.belongs_to(name, as_modes=call.as_mode))
  if not call.as_mode and flags.FLAGS["mode"].present:
    raise ValueError(f"--mode={options.MODE.value}: leave it out, the command is {call.name!r}")
