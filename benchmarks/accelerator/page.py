"""Writes results/README.md from the figures in results/: one section per card.

python benchmarks/accelerator/page.py
"""

import json
import pathlib
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
HEAD = """# What was measured on accelerators

Written by `python benchmarks/accelerator/page.py` from the files beside it, which `python
benchmarks/accelerator/run.py --out=results/CARD` wrote on the machine. Each folder has `notes.md` with what was
changed since and what was not reached.
"""
# Columns: title and field.
STEPS = (
  ("batch", "batch"),
  ("step, s", "step_seconds"),
  ("images/s", "images_per_second"),
  ("share of bf16 peak", "share_of_peak"),
  ("peak memory, GiB", "peak_gib"),
  ("compiling, s", "compile_seconds"),
  ("not measured", "error"),
)


def table(rows: dict[str, dict[str, Any]]) -> str:
  """A row per training step."""
  columns = [(title, field) for title, field in STEPS if any(field in row for row in rows.values())]
  lines = [
    f"| step | {' | '.join(title for title, _ in columns)} |",
    "|---" * (len(columns) + 1) + "|",
  ]
  for name, figures in rows.items():
    lines.append(f"| {name} | {' | '.join(str(figures.get(field, '')) for _, field in columns)} |")
  return "\n".join(lines)


def merged(folder: pathlib.Path, part: str) -> dict[str, dict[str, Any]]:
  """The figures of all processes of a part."""
  figures: dict[str, dict[str, Any]] = {}
  for path in sorted(folder.glob(f"{part}*.json")):
    if not path.name.endswith((".kernels.json", ".status.json")):
      figures |= json.loads(path.read_text())
  return figures


def section(folder: pathlib.Path) -> str:
  """What one card gave."""
  steps = {f"jax: {name}": row for name, row in merged(folder, "steps").items()}
  steps |= {f"PyTorch: {name}": row for name, row in merged(folder, "torch_steps").items()}
  lines = [f"\n## {folder.name}\n", (folder / "notes.md").read_text().strip(), "", table(steps), ""]
  for name, row in merged(folder, "parity").items():
    stopped = ", stopped before its end" if row.get("stopped_before_its_end") else ""
    passed, failed = row.get("passed", 0), row.get("failed", 0)
    lines.append(f"- recorded numbers, `{name}`: {passed} agree, {failed} do not{stopped}")
  for name, row in merged(folder, "attention").items():
    lines.append(
      f"- attention, `{name}`: {', '.join(f'{key} {value}' for key, value in row.items())}"
    )
  for row in merged(folder, "kernels").values():
    lines += ["", "```", *row["text"], "```"]
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  folders = sorted(path for path in RESULTS.iterdir() if path.is_dir())
  (RESULTS / "README.md").write_text(HEAD + "".join(map(section, folders)))
