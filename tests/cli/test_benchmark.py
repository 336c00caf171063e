"""Methods x seeds on tiny streets, twice, and what the comparison says of made-up runs."""

import json
import math
import pathlib
import subprocess
import sys

import pytest
import tiny_recipe

from jax_uda.cli import benchmark
from jax_uda.run import sweep
from jax_uda.run.report import comparison, curves
from jax_uda.run.report.runs import Run

ROOT = pathlib.Path(__file__).parents[2]
FILE = pathlib.Path(tiny_recipe.__file__)


def made_up(car, teacher=0.5, seconds=(1.0, 2.0), **changes) -> Run:
  """A run of 20 steps, evaluated twice; the student's mIoU at the end is that of two classes."""
  iou = {"road": 0.9, "car": car}
  end = dict(iou=iou, miou=sum(iou.values()) / 2, subsets={})
  fields = dict(
    scores={"student": end, "teacher": end | dict(miou=teacher)},
    steps=(10, 20),
    miou={"student": (0.3, end["miou"]), "teacher": (0.2, teacher)},
    seconds=seconds,
    start=0,
    before=0.0,
  )
  return Run(**(fields | changes))


@pytest.mark.fast
def test_means_and_spreads_are_over_seeds():
  found = comparison.summarise({"dacs": {0: made_up(0.1), 1: made_up(0.3), 2: made_up(math.nan)}})
  assert found["dacs"]["iou"]["student"]["car"] == {
    "mean": 0.2,
    "std": round(math.sqrt(0.02), 6),
    "values": [0.1, 0.3, None],
  }
  assert comparison.percent(found["dacs"]["iou"]["student"]["car"]) == "20.0 ± 14.1"
  assert comparison.percent(comparison.spread([0.5])) == "50.0"
  assert comparison.percent(comparison.spread([math.nan])) == "–"


@pytest.mark.fast
def test_equal_compute_is_the_last_evaluation_that_plain_self_training_had_time_for():
  runs = {
    "dacs": {0: made_up(0.1), 1: made_up(0.1)},
    "fast": {0: made_up(0.3, seconds=(0.5, 1.0))},
    "slow": {1: made_up(0.3, seconds=(1.5, 3.0))},
    "never": {0: made_up(0.3, before=1.5)},
    "unpaired": {7: made_up(0.3)},
  }
  found = comparison.summarise(runs)
  of = lambda method: (
    found[method]["equal_compute"]["steps"],
    found[method]["equal_compute"]["student"]["mean"],
    found[method]["step_time"]["ratio"],
  )
  assert of("dacs") == ([20, 20], 0.5, 1.0)
  assert of("fast") == ([20], 0.6, 0.5)
  assert of("slow") == ([10], 0.3, 1.5)
  assert of("never") == ([], None, 1.0)
  assert of("unpaired") == ([], None, None)
  assert comparison.overview(found)[3] == [
    *("slow", "1", "60.0", "50.0", "30.0", "20.0", "10", "1.50", "–")
  ]


@pytest.mark.fast
def test_a_class_has_collapsed_where_training_on_the_source_alone_keeps_it():
  runs = {
    "source_only": {0: made_up(0.2), 1: made_up(0.004), 2: made_up(0.2)},
    "dacs": {0: made_up(0.0), 1: made_up(0.004), 2: made_up(0.3)},
  }
  found = comparison.summarise(runs)
  assert found["dacs"]["collapsed"] == {"car": [0]} and not found["source_only"]["collapsed"]
  assert comparison.overview(found)[2][-1] == "car (1/3)"
  assert comparison.by_class(found, "student")[2][2].endswith("†")
  assert not comparison.by_class(found, "teacher")[2][2].endswith("†")


def test_the_plot_takes_one_seed_and_undefined_scores(tmp_path):
  pytest.importorskip("matplotlib")
  runs = {"dacs": {0: made_up(0.1)}, "mic": {0: made_up(math.nan)}, "hrda": {}}
  curves.draw(tmp_path / "plot.png", runs, title="made up")
  assert (tmp_path / "plot.png").stat().st_size > 10_000


def tiny(method, seed=0, warm_up=2, data_dir="", **changes):
  arguments = f"method={method},seed={seed},warm_up={warm_up},steps=4,data_dir={data_dir}"
  config = tiny_recipe.get_config(arguments)
  config.model.update(changes)
  return config


@pytest.mark.fast
def test_stages_of_the_same_config_share_a_folder_and_others_do_not(tmp_path):
  configs = {
    ("dacs", 0): tiny("dacs"),
    ("rccr", 0): tiny("rccr"),
    ("mic", 0): tiny("mic", encoder="mit_b0", encoder_options={}),
    ("source_only", 0): tiny("source_only", warm_up=0),
    ("mic", 1): tiny("mic", seed=1, encoder="mit_b0", encoder_options={}),
  }
  jobs = {
    (job.method, job.seed): [(stage.folder.name, stage.config.init_from) for stage in job.stages]
    for job in sweep.plan_jobs(configs, tmp_path)
  }
  assert jobs["dacs", 0] == [("warm_up", ""), ("dacs", "warm_up")]
  assert jobs["rccr", 0] == [("warm_up", ""), ("rccr", "warm_up")]
  assert jobs["mic", 0] == [("mic_warm_up", ""), ("mic", "mic_warm_up")]
  assert jobs["source_only", 0] == [("source_only", "")]
  assert jobs["mic", 1] == [("warm_up", ""), ("mic", "warm_up")]


def test_a_benchmark_shares_the_warm_up_and_goes_on_where_it_was_stopped(tmp_path, capsys):
  make = lambda **changes: {
    (method, 0): tiny(method, data_dir=tmp_path / "data", **changes)
    for method in ("source_only", "dacs")
  }
  root = tmp_path / "seed0"
  sweep.compare_methods(make(), tmp_path, title="tiny")
  out = capsys.readouterr().out
  assert "2 runs: 0 done, 2 to go" in out and "1 of 2 done, ETA" in out
  assert {path.name for path in root.iterdir()} == {"warm_up", "source_only", "dacs"}
  assert "== source_only, seed 0: warm_up" in out and "dacs, seed 0: warm_up" not in out
  found = json.loads((tmp_path / "benchmark.json").read_text())["methods"]
  assert list(found) == ["source_only", "dacs"] and found["dacs"]["equal_compute"]["steps"] == [4]
  results = json.loads((root / "dacs" / "results.json").read_text())
  assert found["dacs"]["miou"]["teacher"]["values"] == [results["target"]["teacher"]["miou"]]
  assert "| dacs | 1 |" in (tmp_path / "benchmark.md").read_text()

  (root / "dacs" / "results.json").unlink()
  untouched = (root / "source_only" / "metrics.jsonl").stat().st_mtime_ns
  sweep.compare_methods(make(), tmp_path, title="tiny")
  assert "2 runs: 1 done, 1 to go" in capsys.readouterr().out
  assert (root / "source_only" / "metrics.jsonl").stat().st_mtime_ns == untouched
  assert (
    json.loads((tmp_path / "benchmark.json").read_text())["methods"]["dacs"]["miou"]
    == (found["dacs"]["miou"])
  )
  with pytest.raises(ValueError, match="holds a run with another config"):
    sweep.compare_methods(make(warm_up=3), tmp_path, title="tiny")


def test_a_run_that_fails_does_not_keep_the_others_from_running(tmp_path, monkeypatch, capsys):
  configs = {(method, 0): tiny(method, warm_up=0) for method in ("source_only", "dacs", "mic")}
  jobs = sweep.plan_jobs(configs, tmp_path)

  def run_stage(config, workdir):
    if config.method.name == "dacs":
      raise FloatingPointError("step 3: loss = nan")

  monkeypatch.setattr(sweep.stages, "run_stage", run_stage)
  reported = []
  errors = sweep.train_jobs(jobs, lambda done: reported.append([job.method for job in done]))
  assert errors == {"dacs, seed 0": "step 3: loss = nan"}
  assert reported == [["source_only"], ["source_only", "mic"]]
  assert "failed: dacs, seed 0: step 3" in capsys.readouterr().out


def test_a_reason_is_told_once_with_all_runs_that_failed_for_it(tmp_path, monkeypatch):
  def run_stage(config, workdir):
    raise ValueError("no data" if config.method.name != "mic" else "no memory")

  monkeypatch.setattr(sweep.stages, "run_stage", run_stage)
  configs = {(method, 0): tiny(method, warm_up=0) for method in ("source_only", "dacs", "mic")}
  with pytest.raises(RuntimeError) as error:
    sweep.compare_methods(configs, tmp_path, title="")
  assert str(error.value).splitlines() == [
    "3 of 3 runs failed.",
    "source_only, seed 0; dacs, seed 0: no data",
    "mic, seed 0: no memory",
  ]


@pytest.mark.parametrize(
  "flags, message",
  (
    (["--seeds=0,x"], "seeds are whole numbers"),
    (["--methods="], "--methods is missing, e.g."),
    (["--methods=dacs,dacs"], "an entry is there twice"),
    (["-config.num_steps=7"], "-config.num_steps=7: fields are set in the form --config.<field>"),
    (["--workdir=gs://bucket/runs"], "must be a folder on this machine or a shared disk"),
    (["--methods=dacss", f"--config={ROOT}/configs/demo.py"], "'dacss' is unknown"),
  ),
)
def test_a_mistake_ends_in_one_sentence(tmp_path, flags, message):
  line = [sys.executable, "-m", "jax_uda.cli.benchmark", "--methods=dacs", *flags]
  line = [*line[:3], f"--config={FILE}", f"--workdir={tmp_path}", *line[3:]]
  run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert run.returncode and run.stderr.startswith("error: ") and message in run.stderr
  assert len(run.stderr.splitlines()) == 1


@pytest.mark.fast
def test_arguments_of_the_recipe_and_single_fields_are_kept():
  config = benchmark.load(f"{FILE}:steps=5", [("batch_size", "3")], method="mic", seed=4)
  assert (config.num_steps, config.batch_size, config.method.name, config.seed) == (5, 3, "mic", 4)
