"""The command line: `jax-uda COMMAND …`, `python -m jax_uda COMMAND …`, `python main.py --mode=…`."""

import sys

from jax_uda.cli import actions, command, commands, host_memory, options, parsing
from jax_uda.run import saved_config


def _main(call: parsing.Call) -> None:
  if call.words and call.as_mode:
    raise ValueError(f"unknown argument {call.words[0]!r}; flags look like --workdir=runs/demo")
  parsing.check_flags(call)
  words = actions.take_words(call)
  if options.PRINT_CONFIG.value:
    command.show(saved_config.to_json(command.config(call.overrides)))
    return
  actions.ACTIONS[call.name](call, words)


def run(name: str = "") -> None:
  """Runs the command line; a mistake of the user's ends in one sentence, not in a traceback.

  Args:
    name: A command that is put in front of the arguments; empty: they have it.
  """
  if name:
    sys.argv.insert(1, commands.find(name))
  host_memory.use_huge_pages()
  command.run(_main, parsing.parse)


if __name__ == "__main__":
  run()
