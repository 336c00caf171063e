"""Methods x seeds on one task: one table, one plot.

  jax-uda benchmark demo --methods=source_only,dacs,sepico --seeds=0,1,2 --workdir=runs/benchmark

`python -m jax_uda.cli.benchmark --config=configs/demo.py …` is the same. The recipe must take the arguments
`method` and `seed`. The same command again continues: finished runs are not repeated. Each run lies in
WORKDIR/seed<k>/<method>, and the stages before it lie beside it; a stage that several methods share, as a
common warm-up, is run once. The comparison is written to benchmark.md, benchmark.json and benchmark.png.
"""

from absl import flags

from jax_uda.cli import command
from jax_uda.run.config_dict import ConfigDict


def load(recipe: str, overrides: command.Overrides, *, method: str, seed: str | int) -> ConfigDict:
  """The config of `recipe` ("name:arguments") for one method and seed, with fields that flags set."""
  name, _, arguments = recipe.partition(":")
  arguments = ",".join(filter(None, [arguments, f"method={method}", f"seed={seed}"]))
  return command.load_recipe(f"{name}:{arguments}", overrides)


def _entries(flag: flags.FlagHolder, example: str) -> list[str]:
  """The entries of a list flag; raises ValueError if it is empty or repeats one."""
  entries = [value.strip() for value in command.require(flag, example)]
  if len({*entries}) < len(entries):
    raise ValueError(f"--{flag.name}={','.join(entries)}: an entry is there twice")
  return entries


def compare(
  overrides: command.Overrides,
  methods_flag: flags.FlagHolder,
  seeds_flag: flags.FlagHolder,
) -> None:
  """Trains the methods and seeds that two flags list with the recipe of `--config`, and compares them.

  Raises:
    ValueError: A flag is missing or wrong, or a run failed.
  """
  recipe, workdir = command.recipe(), command.workdir()
  methods = _entries(methods_flag, "source_only,dacs,sepico")
  seeds = _entries(seeds_flag, "0,1,2")
  if not all(seed.isdecimal() for seed in seeds):
    raise ValueError(f"--seeds={','.join(seeds)}: seeds are whole numbers, e.g. --seeds=0,1,2")
  configs = {
    (method, int(seed)): load(recipe, overrides, method=method, seed=seed)
    for seed in seeds
    for method in methods
  }
  command.set_up_jax()
  command.repair(*configs.values())
  from jax_uda.run import sweep

  sweep.compare_methods(configs, workdir, title=f"{recipe}: methods x seeds")


if __name__ == "__main__":
  from jax_uda.cli import main

  main.run("benchmark")
