"""Writes docs/config.md, the page of all fields of a config, from the code that takes them.

  python docs/config_fields.py

`jax-uda list fields` prints the same rows.
"""

import pathlib
from collections.abc import Iterable

from jax_uda.run import field_docs
from jax_uda.run.field_docs import Field

PAGE = pathlib.Path(__file__).with_name("config.md")
INTRODUCTION = """# All fields of a config

<!-- Written by `python docs/config_fields.py` from the code; do not edit. -->

A recipe is a file with a function `get_config(arg)`, or a JSON file, as `config.json` of a run and what `--print_config` prints. It
starts from the defaults below and states what differs ([own_data.md](own_data.md) has an example). Every field can be set on the
command line: `--config.num_steps=500`, `--config.eval.flip=true`, `--config.optimizer.groups[0].learning_rate=5`,
`--config.stages.warm_up.num_steps=100`. A name that does not exist is refused with the nearest one.

`jax-uda list fields WORD` prints the fields whose path has the word, `jax-uda list fields method.sepico` those of one method. A field
without a default must be set. The last column of a table, "of", names the choices that have the field.
"""
HEADINGS = {
  "data sets": (
    "`config.data.source`, `config.data.target`, `config.eval.targets.NAME`: data sets",
    "`name` chooses the data set; the other fields are its arguments.",
  ),
  "rare classes": (
    "`config.data.rare_class`",
    "Empty: images are drawn uniformly.",
  ),
  "network": (
    "`config.model`",
    "`heads` and `dtype` come from the method and from `compute_dtype`.",
  ),
  "encoders": (
    "`config.model.encoder_options`",
    "Where several sizes share an encoder, their defaults stand side by side.",
  ),
  "decoders": ("`config.model.decoder_options`", ""),
  "adapters": ("`config.model.adapter`", "`name` chooses the adapter."),
  "two resolutions": ("`config.model.hrda`", "HRDA; the group is left out for one resolution."),
  "methods": ("`config.method`", "`name` chooses the method; `also` adds components of others."),
  "components": ("`config.method.also`", "By name of the component; `{}` takes its defaults."),
  "teacher": ("`config.ema`", ""),
  "optimizer": ("`config.optimizer`", ""),
  "groups of parameters": (
    "`config.optimizer.groups`",
    "A tuple of groups; the first one that matches a parameter's path counts.",
  ),
  "learning rate": (
    "`config.schedule`",
    "`name` chooses the schedule, `warmup_poly` if left out; `scale_from`, pairs (step, factor), changes it from "
    "a step on.",
  ),
}


def _table(fields: Iterable[Field], *, with_owner: bool) -> list[str]:
  escape = lambda text: text.replace("|", "\\|")
  code = lambda text: f"`{escape(text)}`" if text else ""
  owner = " of |" if with_owner else ""
  lines = [
    f"| field | type | default | meaning |{owner}",
    "|---|---|---|---|" + "---|" * with_owner,
  ]
  for field in fields:
    cells = [code(field.path), code(field.kind), code(field.default), escape(field.meaning)]
    cells += [escape(field.owner)] if with_owner else []
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def page() -> str:
  """The whole page."""
  lines = [INTRODUCTION, "## Fields of every run\n"]
  lines += _table(field_docs.shared_fields(), with_owner=False)
  for name, fields in field_docs.keyword_fields().items():
    title, text = HEADINGS[name]
    lines += [f"\n## {title}\n"] + ([f"{text}\n"] if text else [])
    lines += _table(fields, with_owner=any(field.owner for field in fields))
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  PAGE.write_text(page(), "utf-8")
