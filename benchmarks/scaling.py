"""Plans of the recipes on TPU slices that are not there, and the table docs/scaling.md of them.

  pip install -e ".[plan]"
  python benchmarks/scaling.py --recipes=gta_to_cityscapes/hrda --topologies=v5e:2x2,v5e:16x16
  python benchmarks/scaling.py --table

The first form compiles each recipe for each slice, in bfloat16, with
`gradient_by_groups`, with `scan_blocks` and `remat` where the encoder has them and one image of each domain per chip, and keeps the plan in benchmarks/plans/. Minutes
per program. The second writes the table of all plans kept.
"""

import argparse
import inspect
import json
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jax_uda.models import catalog
from jax_uda.run import config as config_lib
from jax_uda.run import recipes
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.plan import chips, plan, report

ROOT = pathlib.Path(__file__).parents[1]
PLANS = ROOT / "benchmarks" / "plans"
TABLE = ROOT / "docs" / "scaling.md"
SAVES_MEMORY = ("scan_blocks", "remat")

HEAD = """# What a run needs, before a machine is rented

Each line is a recipe's training step, compiled for a TPU slice by the TPU compiler on a machine without a
TPU: in bfloat16, one source and one target image per chip, with `gradient_by_groups`, and with
`scan_blocks` and `remat` where the encoder has them. *State* is what a chip holds between steps; *peak* is the fullest moment. The *bound* is computed
from the chip's published peaks and says what the step cannot be faster than; nothing was measured on a
TPU. *Exchanged* is what one chip sends and receives in a step.

For any recipe and any settings: `python main.py --mode=plan --topology=v5e:4x4 --config=RECIPE`
(`pip install "jax-uda[plan]"`). This table: `python benchmarks/scaling.py --table`.

| recipe, stage | slice | state | peak of memory | fits | TFLOP a step and chip | bound | exchanged | compiled in |
|---|---|---|---|---|---|---|---|---|
"""


def saving_memory(config: ConfigDict) -> ConfigDict:
  """The config in bfloat16, with everything on that an encoder has for saving memory."""
  config = config.copy_and_resolve_references().unlock()
  config.compute_dtype, config.gradient_by_groups = "bfloat16", True
  accepted = inspect.signature(catalog.ENCODERS[config.model.encoder]).parameters
  options = {name: True for name in SAVES_MEMORY if name in accepted}
  if options:
    config.model.encoder_options = dict(config.model.get("encoder_options", {})) | options
  return config.lock()


def make(recipe: str, topology: str) -> None:
  """Compiles all stages of a recipe for a slice and keeps their plans."""
  mesh = chips.topology_mesh(topology)
  config = recipes.load(recipe)
  for name, stage in (config_lib.stage_configs(config) or {"": config}).items():
    if stage.task != "train":
      continue
    grown = saving_memory(stage).unlock()
    grown.batch_size = mesh.size if mesh.size > 1 else grown.batch_size
    done = plan.of_run(grown.lock(), f"{recipe} {name}".strip(), mesh)
    print(report.text(done), flush=True)
    PLANS.mkdir(exist_ok=True)
    title = f"{recipe}-{name}-{topology}".replace("/", "-").replace(":", "-").replace("--", "-")
    text = json.dumps({"topology": topology, **done.to_plain()}, indent=1)
    (PLANS / f"{title}.json").write_text(text + "\n")


def row(kept: dict) -> str:
  """A line of the table."""
  chips_in_use = kept["devices"][0]
  exchanged = sum(item["num_bytes"] * item["times"] for item in kept["collectives"])
  bound = max(kept["seconds"], key=lambda name: kept["seconds"][name])
  cells = (
    kept["title"],
    kept["topology"],
    report.size(kept["state"]),
    f"{report.size(kept['peak'])} of {report.size(kept['memory'])}",
    "yes" if kept["fits"] else "**no**",
    f"{kept['operations'] / 1e12 / chips_in_use:.2f}",
    f"{1e3 * kept['seconds'][bound]:.0f} ms ({bound})",
    report.size(exchanged),
    f"{kept['compile_seconds']:.0f} s",
  )
  return f"| {' | '.join(cells)} |\n"


def write_table() -> None:
  """Writes docs/scaling.md from the plans that are kept."""
  plans = [json.loads(path.read_text()) for path in sorted(PLANS.glob("*.json"))]
  plans.sort(key=lambda kept: (kept["title"], kept["devices"][0]))
  TABLE.write_text(HEAD + "".join(map(row, plans)))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--recipes", default="", help="names of recipes, with commas")
  parser.add_argument("--topologies", default="v5e:2x2", help="TPU slices, with commas")
  parser.add_argument("--table", action="store_true", help="write docs/scaling.md")
  arguments = parser.parse_args()
  for recipe in filter(None, arguments.recipes.split(",")):
    for topology in arguments.topologies.split(","):
      make(recipe, topology)
  if arguments.table:
    write_table()
