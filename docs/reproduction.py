"""Writes docs/reproduction.md from the docstrings of the published recipes.

  python docs/reproduction.py

A docstring has the recipe's command and a table of what is published, one row per set of arguments. The
table of the page, the commands and the tests that run them are made of these rows.
"""

import ast
import functools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from jax_uda.run import recipes
from jax_uda.run.config_dict import ConfigDict

PAGE = pathlib.Path(__file__).with_suffix(".md")
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
TASKS = {
  "gta_to_cityscapes": "GTA5 → Cityscapes",
  "synthia_to_cityscapes": "SYNTHIA → Cityscapes",
  "cityscapes_to_acdc": "Cityscapes → ACDC",
  "cityscapes_to_dark_zurich": "Cityscapes → Dark Zurich",
  "cityscapes_to_bdd100k": "Cityscapes → BDD100K",
  "synthetic_to_real": "GTA5, SYNTHIA and Synscapes → Cityscapes, BDD100K, Mapillary, ACDC and Dark Zurich",
  "oracle": "Supervised by the target's labels",
}
# The file of published weights by encoder, for rows with another network than the recipe's first.
WEIGHTS = {
  "mit_b5": "mit_b5.pth",
  "resnet101_v1c": "resnet101_v1c.pth",
  "dinov2_vitl14": "dinov2_vitl14.pth",
  "dinov2_vitb14_adapter": "vit_adapter_base.ckpt",
}
HEADER = ("arguments", "network", "mIoU", "which number", "origin")


class Row(NamedTuple):
  """A published number and the run that would reproduce it.

  Attributes:
    recipe: Name of the recipe, e.g. "gta_to_cityscapes/mic".
    title: The method and its paper.
    scored: What is scored, e.g. "mIoU on Cityscapes val".
    arguments: The recipe's arguments; empty for none.
    network: The network in words.
    number: The published score in percent, or "-".
    kind: Which number it is: of how many seeds, which checkpoint.
    origin: Where it is printed.
    command: The whole command.
  """

  recipe: str
  title: str
  scored: str
  arguments: str
  network: str
  number: str
  kind: str
  origin: str
  command: str

  @property
  def config(self) -> ConfigDict:
    """The resolved config of the command."""
    return recipes.load(re.search(r"--config=configs/(\S+)", self.command)[1])


def rows() -> Iterator[Row]:
  """The rows of all published recipes, by task.

  Raises:
    ValueError: A docstring lacks the command or the table, or a row has another number of columns.
  """
  for task in TASKS:
    for file in sorted((CONFIGS / task).glob("*.py")):
      yield from _rows_of(
        f"{task}/{file.stem}", ast.get_docstring(ast.parse(file.read_text("utf-8")))
      )


def _rows_of(recipe: str, docstring: str) -> Iterator[Row]:
  command = re.search(r"^ +(python main\.py .*?) +(--config=\S+)$", docstring, re.MULTILINE)
  scored = re.search(r"^Published (.*), in percent\. Ours: not run\.$", docstring, re.MULTILINE)
  lines = docstring.splitlines()
  starts = [n for n, line in enumerate(lines) if tuple(_columns(line)) == HEADER]
  if not (command and scored and len(starts) == 1):
    raise ValueError(f"{recipe}: its docstring lacks the command, what is published, or the table.")
  for line in lines[starts[0] + 1 :]:
    if not line.strip():
      return
    columns = _columns(line)
    if len(columns) != len(HEADER):
      raise ValueError(f"{recipe}: {line.strip()!r} has no {len(HEADER)} columns.")
    arguments, *others = columns
    arguments = "" if arguments == "-" else arguments
    title = lines[0].partition(":")[0]
    whole = _command(recipe, command[1], command[2], arguments)
    yield Row(recipe, title, scored[1], arguments, *others, whole)


def _columns(line: str) -> list[str]:
  return re.split(r"\s{2,}", line.strip())


def _command(recipe: str, start: str, config: str, arguments: str) -> str:
  """The documented command with a row's arguments in place of its first ones."""
  data = config[config.index("source=") :]
  encoder = _encoder(f"{recipe}:{arguments}")
  if encoder != _encoder(f"{recipe}:"):
    data = re.sub(r"weights=\S+", f"weights={WEIGHTS[encoder]}", data)
  more = f"{arguments}," if arguments else ""
  # A folder of its own: one that holds a run of another config is refused.
  start += "".join(f"_{part.rpartition('/')[2]}" for part in re.split("[,=]", arguments) if part)
  return f"{start} --config=configs/{recipe}.py:{more}{data}"


@functools.cache
def _encoder(recipe: str) -> str:
  return recipes.load(recipe).model.encoder


def _memory(row: Row) -> str:
  """What is known of memory and time: the device that the authors' configurations name."""
  reference = row.recipe.partition("/")[2]
  if reference == "cluda":
    return "authors: 32 GB (V100)"
  if reference in ("daformer", "hrda", "mic", "dacs", "min_entropy", "adv_seg"):
    large = "hrda" in row.config.model
    return "authors: 24 GB (Titan RTX)" if large else "authors: 11 GB (RTX 2080 Ti)"
  return "–"


INTRODUCTION = """# What the recipes would reproduce

<!-- Written by `python docs/reproduction.py` from the docstrings in configs/; do not edit. -->

Every row of the papers' main tables that this project can run, with the command that runs it. **Ours on all of them: not run.** A test
holds the recipes' fields against the reference implementations (`tests/recipes/reference_values.toml`), another resolves every command
below. Folders and weight files stand for yours; [data.md](data.md) says what a folder must hold, [models.md](models.md) where weights come
from.

How to read a number:

- A score is that of the *student* at the last step, as in DAFormer's code. "Best checkpoint by the target's labels" is an **oracle**: it
  chose with labels that adaptation does not have.
- Means are of three seeds (`seed=0`, `seed=1`, `seed=2`); one seed differs from them by up to a point.
- Scores of ACDC and Dark Zurich come from test servers; validation scores of Dark Zurich differ by more than 10 points. With
  `--mode=predict --server=…` a run writes what the servers take.
- "–" stands for a number that is not known to us or that we could not look up in a public source; the origin says where it is printed.
- SYNTHIA's scores are means over 16 classes (`16` among the `subsets` of `results.json`) unless they say 13.
- Any recipe is scored on unseen data sets, too, with `bdd100k=DIR`, `mapillary=DIR`, `nighttime_driving=DIR` or `wilddash2=DIR`.
"""


def page() -> str:
  """The whole page."""
  parts = [INTRODUCTION]
  number = 0
  for task, name in TASKS.items():
    table = [
      f"\n## {name}\n",
      "| # | method | network | published | which number | origin | ours | memory, hours |",
      "|---|---|---|---|---|---|---|---|",
    ]
    commands: dict[str, list[str]] = {}  # the rows of each
    for row in rows():
      if not row.recipe.startswith(f"{task}/"):
        continue
      number += 1
      published = row.number.replace("-", "–")
      if "13 classes" in row.scored:
        published += " (13 classes)"
      kind = row.kind if row.kind != "-" else "–"
      table.append(
        f"| {number} | {row.title} | {row.network} | {published} | {kind} | {row.origin} | not run | "
        f"{_memory(row)} |"
      )
      commands.setdefault(row.command, []).append(str(number))
    listed = [f"{command}  # {', '.join(numbers)}" for command, numbers in commands.items()]
    parts.append("\n".join([*table, "", "```bash", *listed, "```", ""]))
  return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
  PAGE.write_text(page(), "utf-8")
