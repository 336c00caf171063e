"""The plan of a recipe: of its run, or of each of its stages that trains."""

import json
import pathlib

from jax_uda.common import files, registry
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.plan import chips, plan, report

FILE = "plan.json"


def write(
  config: ConfigDict, title: str, *, topology: str = "", workdir: pathlib.Path | None = None
) -> list[plan.Plan]:
  """Plans a recipe and prints what was learnt; no data, weights or accelerators are needed.

  Args:
    config: The recipe's config.
    title: What the recipe is called.
    topology: A TPU slice to compile for, e.g. "v5e:4x4"; empty: the devices of this machine.
    workdir: Where `plan.json` is written; None: nowhere.

  Returns:
    The plan of each stage that trains, in order.

  Raises:
    SettingError: A field of the config or the topology does not fit.
    ValueError: A program exchanges what grows with the number of pixels.
  """
  if topology:
    mesh = chips.topology_mesh(topology, config.fsdp)
  else:
    with registry.within("config"):
      mesh = mesh_lib.mesh_of(config.devices, config.fsdp)
  stages = config_lib.stage_configs(config) or {"": config}
  plans = []
  for name, stage in stages.items():
    if stage.task != "train":
      continue
    fitted = plan.fitted_batch(stage, mesh)
    if fitted.batch_size != stage.batch_size:
      say(
        f"note: batch {fitted.batch_size} + {fitted.batch_size}, one image of each domain per chip"
      )
    say(f"compiling {title} {name}".rstrip() + f" for {mesh.size} devices …")
    plans.append(plan.of_run(fitted, f"{title} {name}".rstrip(), mesh))
    say(report.text(plans[-1]))
  if workdir:
    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps([item.to_plain() for item in plans], indent=2)
    files.write_atomically(workdir / FILE, text)
    say(f"all figures: {workdir / FILE}")
  for item in plans:
    plan.check_exchanges(item)
  return plans
