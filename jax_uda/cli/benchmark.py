"""Methods x seeds on one task: one table, one plot.

  python -m jax_uda.cli.benchmark --config=configs/demo.py --methods=source_only,dacs,sepico \\
    --seeds=0,1,2 --workdir=runs/benchmark

The recipe must take the arguments `method` and `seed`. The same command again continues: finished runs
are not repeated. Each run lies in WORKDIR/seed<k>/<method> and the stages before it beside it; those of
the same config, as a common warm-up, are run once. Ends in benchmark.md, benchmark.json and
benchmark.png.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from jax_uda.cli import flags as command
from jax_uda.cli import host_memory

flags.adopt_module_key_flags(command)

_METHODS = flags.DEFINE_list("methods", None, "Names that the recipe's argument `method` takes.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Training seeds.")


def load(recipe: str, overrides: Sequence[str], **arguments: Any) -> Any:
  """The config of `recipe` ("file:arguments") with further arguments and `--config.…` flags."""
  path, _, given = recipe.partition(":")
  added = [f"{name}={value}" for name, value in arguments.items()]
  line = ["", f"--config={path}:{','.join(filter(None, [given, *added]))}", *overrides]
  known = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=known, sys_argv=line)
  try:
    known(line)
  except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
    raise ValueError(command.sentence(error)) from None
  return known.config


def _list(name: str, values: Sequence[str] | None, example: str) -> list[str]:
  """The entries of a list flag; raises ValueError if it is empty or one is there twice."""
  values = [value.strip() for value in values or ()]
  command.require(name, values, example)
  if len({*values}) < len(values):
    raise ValueError(f"--{name}={','.join(values)}: an entry is there twice")
  return values


def _overrides(line: Sequence[str]) -> list[str]:
  """The flags that set single fields; raises ValueError for one in another form, which would be lost."""
  found = [text for text in line if re.match(r"--?(no)?config\.", text)]
  for text in found:
    if not re.match(r"--config\.[^=]+=", text):
      raise ValueError(f"{text}: fields are set in the form --config.<field>=<value>")
  return found


def _main() -> None:
  command.recipe_file()
  workdir = command.workdir()
  methods = _list("methods", _METHODS.value, "source_only,dacs,sepico")
  seeds = _list("seeds", _SEEDS.value, "0,1,2")
  if not all(seed.isdecimal() for seed in seeds):
    raise ValueError(f"--seeds={','.join(seeds)}: seeds are whole numbers, e.g. --seeds=0,1,2")
  given = config_flags.get_config_filename(flags.FLAGS["config"])
  overrides = _overrides(sys.argv[1:])
  configs = {
    (method, int(seed)): load(given, overrides, method=method, seed=seed)
    for seed in seeds
    for method in methods
  }
  command.set_up_jax()
  from jax_uda.run import sweep

  sweep.run(configs, workdir, title=f"{given}: methods x seeds")


if __name__ == "__main__":
  host_memory.use_huge_pages()
  command.run(_main)
