"""Methods compared over seeds: means, spreads, equal compute, classes that collapsed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_uda.run.report import table
from jax_uda.run.report.runs import NETWORKS, Run

REFERENCE, BASELINE = "dacs", "source_only"  # of compute; of classes that a method lost
COLLAPSED = 0.01  # IoU below which a class is

Runs = Mapping[str, Mapping[int, Run]]  # by method and seed


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
  """What `benchmark.json` says of each method: numbers in [0, 1], None where undefined.

  By method: `seeds`; by network `miou` and, by class, `iou`, each as `mean`, `std` over seeds (None
  for one seed) and `values`; `equal_compute`, likewise, with the `steps` where it was measured; `step_time`,
  seconds and relative to plain self-training; `collapsed`, the seeds by class. Equal compute and
  relative time need a run of plain self-training with the same seed.
  """
  return {method: _summary(runs, method) for method, by_seed in runs.items() if by_seed}


def _summary(runs: Runs, method: str) -> dict[str, Any]:
  found = runs[method]
  seeds = sorted(found)
  names = list(found[seeds[0]].scores["student"]["iou"])
  score = lambda network, seed: found[seed].scores[network]
  reference = runs.get(REFERENCE, {})
  paired = [seed for seed in seeds if seed in reference]
  at = {seed: found[seed].within(reference[seed].total_seconds) for seed in paired}
  reached = [seed for seed in paired if at[seed] is not None]
  ratios = [found[seed].step_seconds / reference[seed].step_seconds for seed in paired]
  return {
    "seeds": seeds,
    "miou": {
      network: spread([score(network, seed)["miou"] for seed in seeds]) for network in NETWORKS
    },
    "iou": {
      network: {
        name: spread([score(network, seed)["iou"][name] for seed in seeds]) for name in names
      }
      for network in NETWORKS
    },
    "equal_compute": {
      "steps": [found[seed].steps[at[seed]] for seed in reached],
      **{
        network: spread([found[seed].miou[network][at[seed]] for seed in reached])
        for network in NETWORKS
      },
    },
    "steps": [found[seed].steps[-1] for seed in seeds],
    "step_time": {
      "seconds": _plain(np.mean([found[seed].step_seconds for seed in seeds])),
      "ratio": _plain(np.mean(ratios)) if ratios else None,
    },
    "collapsed": _collapsed(found, runs.get(BASELINE, {}), names),
  }


def spread(values: Sequence[float]) -> dict[str, Any]:
  """Mean and standard deviation (of a sample: divided by n - 1) of the defined values."""
  defined = [value for value in values if not math.isnan(value)]
  return {
    "mean": _plain(np.mean(defined)) if defined else None,
    "std": _plain(np.std(defined, ddof=1)) if len(defined) > 1 else None,
    "values": [_plain(value) for value in values],
  }


def _plain(value: float) -> float | None:
  return None if math.isnan(value) else round(float(value), 6)


def _collapsed(
  found: Mapping[int, Run], baseline: Mapping[int, Run], names: Sequence[str]
) -> dict[str, list[int]]:
  """Class -> the seeds in which the student lost it, while training on the source alone did not."""
  iou = lambda run, name: run.scores["student"]["iou"][name]
  lost = {
    name: [
      seed
      for seed, run in sorted(found.items())
      if iou(run, name) < COLLAPSED
      and (seed not in baseline or iou(baseline[seed], name) > iou(run, name))
    ]
    for name in names
  }
  return {name: seeds for name, seeds in lost.items() if seeds}


def about(summary: Mapping[str, Any], *, num_steps: int, every: int) -> str:
  """How to read the tables, in Markdown."""
  lines = [
    "IoU and mIoU on the target's validation images, in %, as mean ± standard deviation over seeds "
    "(n - 1). Methods with the same network start from the same warm-up, one a seed. Nothing was selected by these "
    "scores: they are those of the last step.",
    f"*Equal steps*: after step {num_steps}. *Equal compute*: at the last evaluation (every {every} "
    f"steps) until which no more time was spent in training steps, those of earlier stages among them, "
    f"than `{REFERENCE}` spent over all of its own with the same seed; the learning rate followed the "
    "schedule of the whole run. Times are measured, without compilation and evaluation; *step time* is "
    f"that of the last stage, relative to `{REFERENCE}`.",
    f"† collapsed: IoU below {100 * COLLAPSED:g} % in some seed where `{BASELINE}` has more.",
  ]
  if REFERENCE not in summary:
    lines[1] += f" Here `{REFERENCE}` was not run: no equal compute, no relative times."
  if BASELINE not in summary:
    lines[2] += f" Here `{BASELINE}` was not run: every class below counts."
  return "\n\n".join(lines)


def overview(summary: Mapping[str, Any]) -> list[list[str]]:
  """Header and one row a method: mIoU at equal steps and equal compute, time, collapsed classes."""
  header = ["method", "seeds"]
  header += [f"{network}, equal steps" for network in NETWORKS]
  header += [f"{network}, equal compute" for network in NETWORKS]
  rows = [[*header, "at step", "step time", "collapsed"]]
  for method, found in summary.items():
    equal, ratio = found["equal_compute"], found["step_time"]["ratio"]
    steps = sorted({*equal["steps"]})
    lost = ", ".join(
      f"{name} ({len(seeds)}/{len(found['seeds'])})" for name, seeds in found["collapsed"].items()
    )
    rows.append(
      [
        method,
        str(len(found["seeds"])),
        *(percent(found["miou"][network]) for network in NETWORKS),
        *(percent(equal[network]) for network in NETWORKS),
        "–".join(map(str, steps[:: max(len(steps) - 1, 1)])) or "–",
        f"{ratio:.2f}" if ratio else "–",
        lost or "–",
      ]
    )
  return rows


def brief(summary: Mapping[str, Any]) -> list[list[str]]:
  """The part of `overview` that fits a terminal."""
  rows = [["method", "student", "teacher", "student, equal compute", "step time"]]
  for full in overview(summary)[1:]:
    rows.append([full[0], full[2], full[3], full[4], full[7]])
  return rows


def by_class(summary: Mapping[str, Any], network: str) -> list[list[str]]:
  """Header and one row a method: IoU of every class and mIoU of one network."""
  names = list(next(iter(summary.values()))["iou"][network])
  rows = [["method", *names, "mIoU"]]
  for method, found in summary.items():
    lost = found["collapsed"] if network == "student" else {}
    cells = [percent(found["iou"][network][name]) + " †" * (name in lost) for name in names]
    rows.append([method, *cells, percent(found["miou"][network])])
  return rows


def percent(found: Mapping[str, Any]) -> str:
  """`45.2 ± 0.3`, `45.2` for one seed, `–` where nothing is defined."""
  if found["mean"] is None:
    return "–"
  text = f"{100 * found['mean']:.1f}"
  return text if found["std"] is None else f"{text} ± {100 * found['std']:.1f}"


def markdown(summary: Mapping[str, Any], *, title: str, num_steps: int, every: int) -> str:
  """The whole of `benchmark.md`."""
  parts = [f"# {title}", about(summary, num_steps=num_steps, every=every), "## mIoU"]
  parts.append(table.grid_markdown(overview(summary)))
  for network in NETWORKS:
    parts += [f"## IoU by class, {network}", table.grid_markdown(by_class(summary, network))]
  return "\n\n".join(parts) + "\n\n![mIoU of the methods, and over steps](benchmark.png)\n"
