"""Methods compared over seeds: means, spreads, equal compute, classes that collapsed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_uda.run.report import table
from jax_uda.run.report.runs import Run
from jax_uda.run.settings import NETWORKS

REFERENCE = "dacs"  # equal compute means the compute of this method
BASELINE = "source_only"  # a class has collapsed only where this method has more of it
COLLAPSED = 0.01  # a class has collapsed if its IoU is below this, too

Runs = Mapping[str, Mapping[int, Run]]  # by method and seed


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
  """The content of `benchmark.json` for each method: numbers in [0, 1], None where undefined.

  Returns:
    By method: `seeds`; `checkpoint`, of which the scores are; `miou` by network and `iou` by network and class, each as `mean`, `std` over seeds
    (None for one seed) and `values`; `equal_compute`, the same for the mIoU at equal compute, with the
    `steps` at which it was measured; `step_time`, in seconds and relative to plain self-training;
    `collapsed`, the seeds by class. Equal compute and relative time need a run of plain self-training with
    the same seed.
  """
  return {method: _summary(runs, method) for method, by_seed in runs.items() if by_seed}


def _summary(runs: Runs, method: str) -> dict[str, Any]:
  by_seed = runs[method]
  seeds = sorted(by_seed)
  names = list(by_seed[seeds[0]].scores["student"]["iou"])
  score = lambda network, seed: by_seed[seed].scores[network]
  reference = runs.get(REFERENCE, {})
  paired = [seed for seed in seeds if seed in reference]
  ratios = [by_seed[seed].step_seconds / reference[seed].step_seconds for seed in paired]
  return {
    "seeds": seeds,
    "checkpoint": by_seed[seeds[0]].checkpoint,
    "miou": {
      network: spread([score(network, seed)["miou"] for seed in seeds]) for network in NETWORKS
    },
    "iou": {
      network: {
        name: spread([score(network, seed)["iou"][name] for seed in seeds]) for name in names
      }
      for network in NETWORKS
    },
    "equal_compute": _equal_compute(by_seed, {seed: reference[seed] for seed in paired}),
    "steps": [by_seed[seed].steps[-1] for seed in seeds],
    "step_time": {
      "seconds": _plain(float(np.mean([by_seed[seed].step_seconds for seed in seeds]))),
      "ratio": _plain(float(np.mean(ratios))) if ratios else None,
    },
    "collapsed": _collapsed(by_seed, runs.get(BASELINE, {}), names),
  }


def _equal_compute(by_seed: Mapping[int, Run], reference: Mapping[int, Run]) -> dict[str, Any]:
  """Steps and mIoU of the evaluations until which a method took no more time than the reference."""
  steps: list[int] = []
  values: dict[str, list[float]] = {network: [] for network in NETWORKS}
  for seed, other in reference.items():
    run = by_seed[seed]
    index = run.within(other.total_seconds)
    if index is not None:
      steps.append(run.steps[index])
      for network in NETWORKS:
        values[network].append(run.miou[network][index])
  return {"steps": steps} | {network: spread(values[network]) for network in NETWORKS}


def spread(values: Sequence[float]) -> dict[str, Any]:
  """Mean and standard deviation (of a sample: divided by n - 1) of the defined values."""
  defined = [value for value in values if not math.isnan(value)]
  return {
    "mean": _plain(float(np.mean(defined))) if defined else None,
    "std": _plain(float(np.std(defined, ddof=1))) if len(defined) > 1 else None,
    "values": [_plain(value) for value in values],
  }


def _plain(value: float) -> float | None:
  return None if math.isnan(value) else round(float(value), 6)


def _collapsed(
  by_seed: Mapping[int, Run], baseline: Mapping[int, Run], names: Sequence[str]
) -> dict[str, list[int]]:
  """Class -> the seeds in which the student lost it, while training on the source alone did not."""
  iou = lambda run, name: run.scores["student"]["iou"][name]
  lost = {
    name: [
      seed
      for seed, run in sorted(by_seed.items())
      if iou(run, name) < COLLAPSED
      and (seed not in baseline or iou(baseline[seed], name) > iou(run, name))
    ]
    for name in names
  }
  return {name: seeds for name, seeds in lost.items() if seeds}


def about(summary: Mapping[str, Any], *, num_steps: int, every: int) -> str:
  """Explains in Markdown how to read the tables."""
  oracles = [method for method, numbers in summary.items() if _is_oracle(numbers)]
  chosen = "Nothing was selected by these scores: they are those of the last step."
  if oracles:
    chosen = (
      "‡ oracle: the checkpoint with the best mIoU on these images, chosen with their labels; curves and "
      "equal compute are of every evaluation. Without ‡ they are those of the last step."
    )
  lines = [
    "IoU and mIoU on the target's validation images, in %, as mean ± standard deviation over seeds "
    "(n - 1). Methods with the same network start from the same warm-up, one per seed. "
    f"{chosen}",
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
  """Header and one row per method: mIoU at equal steps and equal compute, time, collapsed classes."""
  header = ["method", "seeds"]
  header += [f"{network}, equal steps" for network in NETWORKS]
  header += [f"{network}, equal compute" for network in NETWORKS]
  rows = [[*header, "at step", "step time", "collapsed"]]
  for method, numbers in summary.items():
    equal, ratio = numbers["equal_compute"], numbers["step_time"]["ratio"]
    steps = sorted({*equal["steps"]})
    lost = ", ".join(
      f"{name} ({len(seeds)}/{len(numbers['seeds'])})"
      for name, seeds in numbers["collapsed"].items()
    )
    rows.append(
      [
        method + " ‡" * _is_oracle(numbers),
        str(len(numbers["seeds"])),
        *(percent(numbers["miou"][network]) for network in NETWORKS),
        *(percent(equal[network]) for network in NETWORKS),
        "–".join(map(str, steps[:: max(len(steps) - 1, 1)])) or "–",
        f"{ratio:.2f}" if ratio else "–",
        lost or "–",
      ]
    )
  return rows


def _is_oracle(numbers: Mapping[str, Any]) -> bool:
  """Whether scores of a method are of its best checkpoint, chosen by these scores."""
  return numbers.get("checkpoint", "last") != "last"


def brief(summary: Mapping[str, Any]) -> list[list[str]]:
  """The part of `overview` that fits a terminal."""
  rows = [["method", "student", "teacher", "student, equal compute", "step time"]]
  for full in overview(summary)[1:]:
    rows.append([full[0], full[2], full[3], full[4], full[7]])
  return rows


def by_class(summary: Mapping[str, Any], network: str) -> list[list[str]]:
  """Header and one row per method: IoU of every class and mIoU of one network."""
  names = list(next(iter(summary.values()))["iou"][network])
  rows = [["method", *names, "mIoU"]]
  for method, numbers in summary.items():
    lost = numbers["collapsed"] if network == "student" else {}
    cells = [percent(numbers["iou"][network][name]) + " †" * (name in lost) for name in names]
    rows.append([method + " ‡" * _is_oracle(numbers), *cells, percent(numbers["miou"][network])])
  return rows


def percent(values: Mapping[str, Any]) -> str:
  """A `spread` in per cent: `45.2 ± 0.3`, `45.2` for one seed, `–` where nothing is defined."""
  if values["mean"] is None:
    return "–"
  text = f"{100 * values['mean']:.1f}"
  return text if values["std"] is None else f"{text} ± {100 * values['std']:.1f}"


def markdown(summary: Mapping[str, Any], *, title: str, num_steps: int, every: int) -> str:
  """The text of `benchmark.md`."""
  parts = [f"# {title}", about(summary, num_steps=num_steps, every=every), "## mIoU"]
  parts.append(table.grid_markdown(overview(summary)))
  for network in NETWORKS:
    parts += [f"## IoU by class, {network}", table.grid_markdown(by_class(summary, network))]
  return "\n\n".join(parts) + "\n\n![mIoU of the methods, and over steps](benchmark.png)\n"
