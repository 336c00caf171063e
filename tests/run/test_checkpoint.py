import os
import pathlib
import shutil
import subprocess
import sys

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import checkpoint, start


@flax.struct.dataclass
class ToyState:
  step: jax.Array
  weights: jax.Array
  key: jax.Array


def toy_state(step, size=3, num_devices=1):
  state = ToyState(jnp.int32(step), jnp.full(size, 0.1 * step), jax.random.key(step))
  return jax.device_put(state, mesh_lib.replicated(mesh_lib.data_mesh(num_devices)))


@pytest.fixture
def folder(tmp_path):
  """Checkpoints of the steps 4 and 8."""
  with checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints:
    checkpoints.save(toy_state(4))
    checkpoints.save(toy_state(8))
  return tmp_path / "checkpoints"


def damage(folder: pathlib.Path) -> None:
  """Cuts the arrays of a checkpoint to half their bytes."""
  for file in folder.rglob("*"):
    if file.is_file() and "/d/" in str(file):
      os.truncate(file, file.stat().st_size // 2)


def test_the_newest_checkpoint_comes_back_exactly_on_any_number_of_devices(folder):
  with checkpoint.Checkpoints(folder) as checkpoints:
    restored = checkpoints.restore(toy_state(0, num_devices=8))
  assert restored.step == 8
  np.testing.assert_array_equal(restored.weights, toy_state(8).weights)
  assert (
    jax.random.key_data(restored.key).tolist() == jax.random.key_data(jax.random.key(8)).tolist()
  )
  assert len(restored.weights.sharding.device_set) == 8


def test_a_damaged_checkpoint_that_is_asked_for_is_named(folder):
  damage(folder / "8")
  with checkpoint.Checkpoints(folder) as checkpoints:
    with pytest.raises(checkpoint.CheckpointError, match="step 8 .* continue from step 4"):
      checkpoints.restore(toy_state(0), step=8)
    assert checkpoints.restore(toy_state(0), step=4).step == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_of_another_shape_is_refused(folder):
  error = pytest.raises(checkpoint.CheckpointError, match="step 8 .* cannot be read")
  with checkpoint.Checkpoints(folder) as checkpoints, error:
    checkpoints.restore(toy_state(0, size=5))


def test_a_part_of_a_state_can_be_read_alone(folder):
  with checkpoint.Checkpoints(folder) as checkpoints:
    part = checkpoints.restore_part({"step": toy_state(0).step, "weights": toy_state(0).weights})
  assert part["step"] == 8
  np.testing.assert_array_equal(part["weights"], toy_state(8).weights)


def test_an_unfinished_write_is_not_a_checkpoint(folder):
  (folder / "8").rename(folder / "8.orbax-checkpoint-tmp")
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() == 4


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
import jax, jax.numpy as jnp, test_checkpoint
from jax_uda.run import checkpoint
state = test_checkpoint.toy_state(12)
noise = jax.device_put(jax.random.normal(state.key, (400_000,)), state.weights.sharding)
try:
  with checkpoint.Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(state.replace(weights=noise))
except checkpoint.CheckpointError as error:
  print(error)
"""


def test_what_a_killed_write_left_goes_when_the_run_continues_and_not_before(folder):
  left = folder / "6.orbax-checkpoint-tmp"
  (left / "default").mkdir(parents=True)
  with checkpoint.Checkpoints(folder, keep=None) as checkpoints:
    assert checkpoints.steps() == [4, 8] and left.exists()
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.steps() == [4, 8] and not left.exists()


def test_a_write_that_fails_says_so_and_loses_nothing(folder):
  # A limit on file sizes stands in for a full disk: the same error path, without a mount.
  folders = (pathlib.Path(__file__).parent, pathlib.Path(__file__).parents[2])
  environment = os.environ | {"PYTHONPATH": ":".join(map(str, folders))}
  command = [sys.executable, "-c", FULL_DISK, str(folder)]
  run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
  assert "could not write" in run.stdout and "File too large" in run.stdout, run.stderr[-2000:]
  assert "Complete checkpoints: 4, 8" in run.stdout
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(toy_state(0)).step == 8


def test_a_full_disk_is_noticed_before_writing(folder, monkeypatch):
  usage = shutil.disk_usage(folder)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
  full = pytest.raises(checkpoint.CheckpointError, match="step 12 .* 0.0 MiB are free.*: 4, 8")
  with checkpoint.Checkpoints(folder) as checkpoints, full:
    checkpoints.save(toy_state(12))
  assert sorted(path.name for path in folder.iterdir()) == ["4", "8"]


def test_a_run_that_has_saved_nothing_has_no_checkpoints(tmp_path):
  assert not start.has_checkpoints(tmp_path)
  with start.open_checkpoints(tmp_path):
    assert not start.has_checkpoints(tmp_path)


def test_no_checkpoint_is_an_error_that_names_the_folder(tmp_path):
  with checkpoint.Checkpoints(tmp_path / "empty") as checkpoints:
    assert checkpoints.latest_step() is None
    with pytest.raises(checkpoint.CheckpointError, match="empty"):
      checkpoints.restore(toy_state(0))
