"""What --help prints: all commands in short, or one command with its flags."""

import textwrap

from absl import flags

from jax_uda.cli import commands

WIDTH = 100
_OVERVIEW = """\
jax-uda: adapt a segmentation model to a domain without labels.

  jax-uda train demo                                                train the demo, or continue it, in runs/demo
  jax-uda predict runs/demo --images=photos --out=out --overlay     use what was trained

A recipe is a name (`jax-uda list recipes`), a file of your own, or a config.json of a run. It takes arguments
after a colon (demo:target=night,seed=1; configs/demo.py:target=night is the same file); single fields are set
with --config.<field>=<value> (`jax-uda list fields`).

Commands (jax-uda COMMAND --help describes one):
"""
_OLDER = """`python -m jax_uda COMMAND` is the same. So is `python main.py --config=RECIPE --workdir=RUN \
--mode=MODE`, with recipe and run as flags, and these modes: {modes}."""


def overview() -> str:
  """The commands, and all flags under the commands that have them."""
  lines = [_OVERVIEW.rstrip()]
  for name, command in commands.COMMANDS.items():
    lines.append(_row(name, command.summary, 17))
  modes = ", ".join(f"{mode} (the default)" if mode == "train" else mode for mode in commands.MODES)
  lines.append("\n" + textwrap.fill(_OLDER.format(modes=modes), WIDTH, break_on_hyphens=False))
  lines.append("\nFlags of recipes and runs:")
  lines += map(_flag, (*commands.RUN, "mode", *commands.EVERYWHERE))
  for name, command in commands.COMMANDS.items():
    if others := [flag for flag in command.flags if flag not in commands.RUN]:
      lines += [f"\nFlags of {name}:", *map(_flag, others)]
  return "\n".join(lines)


def of_command(name: str) -> str:
  """One command: what it does, examples, its flags."""
  command = commands.COMMANDS[name]
  lines = [f"jax-uda {name} {command.words}".rstrip(), ""]
  summary = f"{command.summary[0].upper()}{command.summary[1:]}."
  lines += [textwrap.fill(summary, WIDTH), "", "Examples:"]
  lines += [f"  jax-uda {example}" for example in command.examples]
  lines += ["\nFlags:", *map(_flag, (*command.flags, *commands.EVERYWHERE))]
  if "config" in command.flags:
    lines.append(_row("--config.<field>=<value>", "Sets one field of the config.", 26))
  return "\n".join(lines)


def _flag(name: str) -> str:
  flag = flags.FLAGS[name]
  default = flag.default_as_str if flag.default not in (None, "", False) else None
  text = " ".join((flag.help or "").split())
  if name == "mode":
    text = "The command, where it is not the first word."
  if default:
    text += f" Default: {default.strip(chr(39))}."
  return _row(f"--{name}" if flag.boolean else f"--{name}=…", text, 26)


def _row(name: str, text: str, column: int) -> str:
  indent = " " * (column + 2)
  body = textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
  if len(name) >= column:
    return f"  {name}\n{body}"
  return f"  {name:{column}}{body[column + 2 :]}"
