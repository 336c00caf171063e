"""What a run does when a loss is not finite: it stops, skips the step, or rolls back."""

import itertools
import json
import os
import pathlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_recipe

from jax_uda.run import bad_batches, experiment, interruption, record, start, step_log, training
from jax_uda.step import learner, nonfinite, optimizer

BAD = 4  # the number of the batch with a loss that is not finite


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("data")


def make_config(data_dir, **fields):
  config = tiny_recipe.get_config(f"data_dir={data_dir},method=source_only")
  config.update(fields)
  return config


@pytest.fixture
def poisoned(data_dir, monkeypatch):
  """Makes every step spoil the state at one batch."""
  config = make_config(data_dir)
  bad = experiment.build(config).training_batches()[BAD]["source"]["image"]
  make = learner.train_step.make_train_step

  def make_poisoned(*arguments, **keywords):
    step = make(*arguments, **keywords)

    def poisoned_step(state, batch):
      total = jnp.sum(batch["source"]["image"].astype(jnp.int32))
      poison = jnp.where(total == int(bad.astype(np.int64).sum()), jnp.nan, 1.0)
      state, metrics = step(state, batch)
      student = jax.tree.map(lambda x: x * poison, state.student)
      return state.replace(student=student), metrics | {"loss": metrics["loss"] * poison}

    return poisoned_step

  monkeypatch.setattr(learner.train_step, "make_train_step", make_poisoned)


def rows_of(workdir: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def student_of(config, workdir):
  with start.read_checkpoints(workdir) as checkpoints:
    state = checkpoints.restore(experiment.build(config).initial_state())
  return jax.device_get(state.student)


def test_a_run_that_stops_names_the_images_and_the_ways_on(poisoned, data_dir, tmp_path):
  with pytest.raises(
    FloatingPointError, match=rf"step {BAD}: loss = nan.*batch {BAD} had"
  ) as error:
    training.train(make_config(data_dir), tmp_path / "run")
  text = str(error.value)
  assert "--config.on_nonfinite=rollback (from step 3 on" in text
  assert "source images no. " in text and "target images no. " in text
  assert "scale_from='((3, 0.5),)'" in text and text.isprintable()


def test_skipped_steps_are_counted_and_change_nothing(poisoned, data_dir, tmp_path, capsys):
  config = make_config(data_dir, on_nonfinite="skip")
  training.train(config, tmp_path / "run")
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(student_of(config, tmp_path / "run")))
  assert [row["skipped"] for row in rows_of(tmp_path / "run")] == [0, 0, 0, 0, 1, 0, 0, 0]
  assert f"step {BAD} skipped: loss = nan" in capsys.readouterr().out


@pytest.mark.faults
def test_too_many_skipped_steps_in_a_row_stop_the_run(poisoned, data_dir, tmp_path):
  config = make_config(data_dir, on_nonfinite="skip", max_skips=0)
  with pytest.raises(FloatingPointError, match=f"step {BAD}: .* after 0 skipped steps in a row"):
    training.train(config, tmp_path / "run")


@pytest.mark.faults
def test_a_run_that_rolls_back_is_one_without_the_batch(poisoned, data_dir, tmp_path, monkeypatch):
  """Also if it is stopped on the way and continues."""
  config = make_config(data_dir, on_nonfinite="rollback")
  add, calls = step_log.StepLog.add, itertools.count(1)

  def stop_at_the_eighth(log, metrics):
    if next(calls) == 8:  # steps 0 to 4, and, from the checkpoint of step 3, 3 to 5
      os.kill(os.getpid(), signal.SIGTERM)
    add(log, metrics)

  with monkeypatch.context() as patch, interruption.Interruption():
    patch.setattr(step_log.StepLog, "add", stop_at_the_eighth)
    with pytest.raises(interruption.Stopped):
      training.train(config, tmp_path / "run")
  training.train(config, tmp_path / "run")
  assert [row["batch"] for row in bad_batches.read(tmp_path / "run")] == [BAD]
  assert [row["step"] for row in rows_of(tmp_path / "run")] == list(range(1, 9))
  (tmp_path / "without").mkdir()
  bad_batches.add(tmp_path / "without", batch=BAD, step=BAD, cause="known before")
  training.train(config, tmp_path / "without")
  students = [student_of(config, tmp_path / name) for name in ("run", "without")]
  jax.tree.map(np.testing.assert_array_equal, *students)


@pytest.mark.fast
@pytest.mark.parametrize("left_out", [(), (0,), (2,), (2, 3), (3, 2, 7)])
def test_the_stream_of_batches_lacks_those_that_are_left_out(left_out):
  whole = [number for number in range(20) if number not in left_out]
  numbers = [bad_batches.number_of(step, left_out) for step in range(len(whole))]
  assert numbers == whole
  for first in (0, 2, 5):
    number = bad_batches.number_of(first, left_out)
    stream = bad_batches.without(iter(range(number, 20)), number, left_out)
    assert list(stream) == whole[first:]


@pytest.mark.fast
def test_a_damaged_list_of_batches_is_named(tmp_path):
  (tmp_path / bad_batches.FILE).write_text('[{"batch": 3}]')
  with pytest.raises(ValueError, match="bad_batches.json cannot be read"):
    bad_batches.read(tmp_path)
  (tmp_path / bad_batches.FILE).unlink()
  bad_batches.add(tmp_path, batch=3, step=2, cause="")
  text = (tmp_path / bad_batches.FILE).read_text()
  (tmp_path / bad_batches.FILE).write_text(text.replace('"batch": 3', '"batch": 7'))
  with pytest.raises(ValueError, match="bad_batches.json cannot be read"):
    bad_batches.read(tmp_path)


@pytest.mark.fast
@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0])
def test_a_skipping_step_keeps_all_but_the_number(value, tiny_learner):
  state = tiny_learner("source_only").abstract_state((32, 32))
  state = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), state.replace(key=None))
  step = lambda state, batch: (
    jax.tree.map(lambda x: x + 1, state),
    {"loss": jnp.float32(batch), "grad_norm": jnp.float32(1)},
  )
  after, metrics = jax.jit(nonfinite.skipping(step))(state, value)
  skips = not np.isfinite(value)
  assert metrics[nonfinite.SKIPPED] == skips and after.step == 2
  leaves = jax.tree.leaves((after.student, after.opt_state))
  assert {float(leaf.ravel()[0]) for leaf in leaves if leaf.size} == {1.0 if skips else 2.0}


@pytest.mark.fast
def test_a_rate_is_scaled_from_a_step_on():
  schedule = optimizer.scaled_from(lambda step: 8.0, ((3, 0.5), (5, 0.5)))
  assert [float(schedule(step)) for step in (0, 2, 3, 4, 5, 9)] == [8, 8, 4, 4, 2, 2]
  with pytest.raises(ValueError, match=r"scale_from = \(3, 0.5\) must be pairs"):
    optimizer.scaled_from(lambda step: 8.0, (3, 0.5))


@pytest.mark.fast
def test_a_rate_may_change_for_steps_to_come_alone(tmp_path):
  config = tiny_recipe.get_config()
  (tmp_path / "config.json").write_text(json.dumps(record.config_diff.to_plain(config)))
  (tmp_path / "checkpoints" / "6").mkdir(parents=True)
  with config.unlocked():
    config.schedule.scale_from = ((6, 0.5),)
  record.check_config(config, tmp_path)
  with config.unlocked():
    config.schedule.scale_from = ((5, 0.5),)
  with pytest.raises(
    ValueError, match=r"scale_from: \[\] there, \[\(5, 0.5\)\] here before step 6"
  ):
    record.check_config(config, tmp_path)
