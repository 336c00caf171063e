"""Runs that start from a weight file, and weight files of runs."""

import contextlib
import dataclasses
import functools
import io
import json
import types

import jax
import numpy as np
import pytest
import tiny_recipe

from jax_uda import models
from jax_uda.models import weights
from jax_uda.models.weights import safetensors_file
from jax_uda.run import evaluation, experiment, record, results, stages, start, training
from jax_uda.run import settings as settings_lib
from jax_uda.run.report import runs

pytest.importorskip("safetensors")
# Of a method without a foundation model.
LEARNER = types.SimpleNamespace(method=types.SimpleNamespace(foundation=None))


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("data")

  def make(**changes):
    config = tiny_recipe.get_config(f"data_dir={data_dir}")
    with config.unlocked():
      config.update(changes)
    return config

  return make


def network(seed):
  """Random variables of the tiny network, BatchNorm statistics too."""
  model = models.build(num_classes=11, **tiny_recipe.get_config().model)
  init = functools.partial(model.init, train=False, use_running_average=True)
  shapes = dict(jax.eval_shape(init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda s: rng.uniform(0.05, 0.3, s.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
  """A file as DAFormer's code would write it, of a tiny network: path, student and teacher."""
  student, teacher = network(0), network(1)
  tensors = {f"model.{name}": t for name, t in weights.to_torch(student).items()}
  tensors |= {f"ema_model.{name}": t for name, t in weights.to_torch(teacher).items()}
  path = tmp_path_factory.mktemp("released") / "iter_40000.safetensors"
  safetensors_file.write(path, tensors, {})
  return path, student, teacher


@pytest.fixture(scope="module")
def trained(make_config, released, tmp_path_factory):
  """The folder of a run from the released teacher on, and its config."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  config = make_config(init_weights=str(released[0]), init_network="teacher")
  with contextlib.redirect_stdout(io.StringIO()) as said:
    training.train(config, workdir)
  (workdir.parent / "said.txt").write_text(said.getvalue())
  return workdir, config


def assert_equal(one, two):
  assert jax.tree.structure(one) == jax.tree.structure(two)
  jax.tree.map(np.testing.assert_array_equal, one, two)


def final_state(workdir, config):
  exp = experiment.build(config)
  with start.open_checkpoints(workdir) as checkpoints:
    return checkpoints.restore(exp.initial_state())


def test_a_released_model_is_evaluated_without_training(make_config, released, tmp_path, capsys):
  path, student, _ = released
  workdir, config = tmp_path / "run", make_config(init_weights=str(path))
  stages.evaluate(config, workdir)
  exp = experiment.build(config)
  state = exp.initial_state().replace(student=student, teacher=student)
  counts = results.count(exp, state, "target")["student"]
  expected = evaluation.scores(counts, exp.domains.label_space)
  found = runs.read_results(workdir)
  assert found["step"] == 0
  assert found["target"] == {"student": expected, "teacher": expected}
  noted = json.loads((workdir / "init_weights.json").read_text())
  assert noted["sha256"] == weights.read(path).sha256 and noted["path"] == str(path)
  lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("networks: ")]
  assert lines == [f"networks: encoder, decoder from {path} (sha256 {noted['sha256'][:12]}…)"]
  assert not (workdir / "checkpoints").exists()


def test_training_starts_all_three_networks_at_the_file(make_config, released, tmp_path):
  path, _, teacher = released
  method = {"name": "daformer", "thing_classes": (8, 9)}
  config = make_config(init_weights=str(path), init_network="teacher", method=method)
  with start.open_checkpoints(tmp_path) as checkpoints:
    state = start.restore_or_initialise(experiment.build(config), checkpoints, tmp_path)
  networks = jax.tree.map(np.asarray, (state.student, state.teacher, state.reference))
  encoder = {kind: {"encoder": tree["encoder"]} for kind, tree in teacher.items()}
  assert_equal(networks, (teacher, teacher, encoder))
  networks = (state.student, state.teacher, state.reference)
  shards = [x.addressable_data(0) for x in jax.tree.leaves(networks)]
  buffers = [x.unsafe_buffer_pointer() for x in shards]
  assert len(set(buffers)) == len(buffers), "the step donates each of them"


def test_auxiliary_networks_are_carried_over_beside_weights_from_a_file(
  make_config, tmp_path, monkeypatch
):
  config = make_config(init_weights="resnet.pth", init_auxiliary="translator")
  settings = types.SimpleNamespace(start=settings_lib.start_of(config))
  exp = types.SimpleNamespace(settings=settings, initial_state=lambda: ["start"], learner=LEARNER)
  monkeypatch.setattr(start, "from_file", lambda exp, state, workdir: [*state, "file"])
  monkeypatch.setattr(start, "_other_run", lambda *_: contextlib.nullcontext())
  monkeypatch.setattr(start, "_with_auxiliary", lambda state, others: [*state, "auxiliary"])
  none_yet = types.SimpleNamespace(latest_step=lambda: None)
  assert start.restore_or_initialise(exp, none_yet, tmp_path) == ["start", "file", "auxiliary"]


def test_a_run_from_a_file_is_evaluated_again_and_says_where_it_started(trained):
  workdir, config = trained
  before = runs.read_results(workdir)
  assert before["step"] == 8
  assert training.evaluate(config, workdir) == before
  noted = json.loads((workdir / "init_weights.json").read_text())
  assert noted["network"] == "teacher" and noted["untouched"] == []
  said = (workdir.parent / "said.txt").read_text().splitlines()
  assert said[0].startswith(f"networks: encoder, decoder from {noted['path']} (sha256 ")


def test_exported_weights_are_those_of_the_checkpoint(trained, make_config, tmp_path, capsys):
  workdir, config = trained
  stages.export_weights(config, workdir)
  said = capsys.readouterr().out
  state = final_state(workdir, config)
  for name in ("student", "teacher"):
    path = workdir / f"{name}.safetensors"
    assert f"{name} after 8 steps: {path}" in said
    found, _ = weights.load(network(7), path)
    assert_equal(found, jax.tree.map(np.asarray, getattr(state, name)))
    noted = json.loads((workdir / "init_weights.json").read_text())
    assert weights.read(path).metadata["sha256"] == noted["sha256"]
  # and they are evaluated to the same scores elsewhere
  again = training.evaluate(
    make_config(init_weights=str(workdir / "student.safetensors")), tmp_path / "elsewhere"
  )
  expected = runs.read_results(workdir)
  assert again["target"]["student"] == expected["target"]["student"]


def test_every_start_says_where_the_networks_come_from(make_config, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(
    start,
    "_other_run",
    lambda *_: contextlib.nullcontext(types.SimpleNamespace(latest_step=lambda: 7)),
  )
  monkeypatch.setattr(start, "_with_weights", lambda exp, state, others: state)
  monkeypatch.setattr(start, "_continued", lambda exp, state, others: state)
  for changes, line in (
    ({}, "random"),
    ({"init_weights": "random"}, "random"),
    ({"init_from": "warm_up"}, "the student of the run warm_up after 7 steps"),
    (
      {"init_from": "warm_up", "init_carry": "run"},
      "student and teacher of the run warm_up after 7 steps",
    ),
  ):
    settings = types.SimpleNamespace(start=settings_lib.start_of(make_config(**changes)))
    exp = types.SimpleNamespace(settings=settings, initial_state=lambda: None, learner=LEARNER)
    start.initialise(exp, tmp_path / "run")
    assert capsys.readouterr().out == f"networks: {line}\n"


def test_a_stage_notes_the_file_behind_the_run_with_which_it_begins(tmp_path):
  loaded = weights.Loaded("w.pth", "12" * 32, "student", ("encoder",), (), licence="MIT")
  for name in ("warm_up", "method"):
    (tmp_path / name).mkdir()
  record.write_weights(tmp_path / "warm_up", loaded)
  record.inherit_weights(tmp_path / "method", tmp_path / "warm_up")
  texts = record.origin_of_weights(tmp_path / "method")
  assert texts == {"source": "w.pth", "sha256": "12" * 32, "licence": "MIT"}


def test_a_weight_file_that_was_exchanged_since_the_run_began_is_refused(tmp_path):
  loaded = weights.Loaded("w.pth", "12" * 32, "student", ("encoder",), ())
  record.check_same_weights(tmp_path, loaded)
  record.write_weights(tmp_path, loaded)
  record.check_same_weights(tmp_path, loaded)
  with pytest.raises(ValueError, match=r"w\.pth is not the file .*sha256 1212.* there, 3434.* now"):
    record.check_same_weights(tmp_path, dataclasses.replace(loaded, sha256="34" * 32))


def test_only_the_first_of_several_stages_reads_the_file(make_config, released):
  config = make_config(init_weights=str(released[0]))
  starts = lambda config: start.starts_from_file(settings_lib.start_of(config))
  assert starts(config)
  assert not starts(make_config(init_weights="w.pth", init_from="warm_up"))
  assert not starts(make_config())


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"init_weights": "/no/such.pth"}, r"config\.init_weights: /no/such\.pth: there is no such"),
    ({"init_network": "ema"}, r"config\.init_network = 'ema' is unknown"),
    (
      {"model": {"decoder": "segformer"}},
      r"(?s)config\.init_weights: .*the weights do not fit the network.*missing: .*unexpected: ",
    ),
  ],
)
def test_weights_that_cannot_be_used_are_an_error_before_training(
  make_config, released, tmp_path, changes, message
):
  config = make_config(**{"init_weights": str(released[0]), **changes})
  with pytest.raises(ValueError, match=message):
    training.train(config, tmp_path / "run")


def test_nothing_to_evaluate_or_export_is_said(make_config, tmp_path):
  with pytest.raises(ValueError, match=r"name a file in config\.init_weights"):
    training.evaluate(make_config(), tmp_path / "run")
  with pytest.raises(ValueError, match="train there first"):
    training.export_weights(make_config(), tmp_path / "run")
