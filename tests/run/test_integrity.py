import collections
import json
import shutil

import damage
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import checkpoint, integrity


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  """The folder of two checkpoints, and the files of the newer one."""
  folder = tmp_path_factory.mktemp("damage") / "checkpoints"
  return folder, damage.make(folder)


@pytest.fixture
def folder(original, tmp_path):
  """A copy of that folder."""
  return shutil.copytree(original[0], tmp_path / "checkpoints")


def ends(original, harm, count: int) -> collections.Counter:
  """How often reading ended in which way, over `count` seeds and all files in turn."""
  folder, files = original
  results = collections.Counter(
    damage.end_of(folder, files[seed % len(files)], harm, seed, keep=(None, 2)[seed % 2])
    for seed in range(count)
  )
  assert not [text for text in results if text.startswith("SILENT")], results
  return results


def test_no_flipped_bit_of_a_hundred_is_a_wrong_number(original):
  results = ends(original, damage.flip, 100)
  assert results[damage.PREVIOUS] > 20, "the flips hit nothing"


@pytest.mark.parametrize("harm", [damage.truncate, damage.delete])
def test_a_file_that_is_cut_or_lost_is_no_wrong_number(harm, original):
  results = ends(original, harm, len(original[1]))
  assert results[damage.PREVIOUS] > 2


def test_where_no_checkpoint_is_whole_a_sentence_says_so_and_nothing_is_moved(folder):
  for step in ("4", "8"):
    damage.flip(folder / step / "checksums" / "metadata", seed=0)
  before = sorted(path.name for path in folder.iterdir())
  sentence = r"step 8 .* cannot be read.*checksums.*Neither can those of 4.*new --workdir"
  error = pytest.raises(checkpoint.CheckpointError, match=sentence)
  with checkpoint.Checkpoints(folder) as checkpoints, error:
    checkpoints.restore(damage.state_of(0))
  assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("read", ["restore_part", "restore_shared"])
def test_parts_are_checked_too(read, folder, capsys):
  part = {"weights": damage.state_of(0).weights}
  of_others = integrity.to_record(integrity.checksums(damage.state_of(9)))
  (folder / "8" / "checksums" / "metadata").write_text(json.dumps(of_others))
  with checkpoint.Checkpoints(folder, keep=None) as checkpoints:
    result = getattr(checkpoints, read)(part)
  values = result["weights"] if read == "restore_part" else result[0]["weights"]
  jax.tree.map(np.testing.assert_array_equal, values, damage.state_of(4).weights)
  assert "does not have the values that were saved" in capsys.readouterr().out
  assert (folder / "8").is_dir()  # a run that only reads moves nothing


def test_a_run_goes_on_from_the_previous_checkpoint_and_saves_the_step_again(folder):
  damage.truncate(folder / "8" / "default" / "_METADATA", seed=1)
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(damage.state_of(0)).step == 4
    assert checkpoints.latest_step() == 4
    checkpoints.save(damage.state_of(8))
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(damage.state_of(0)).step == 8


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_to_be_unchecked(folder, capsys):
  shutil.rmtree(folder / "8" / "checksums")
  with checkpoint.Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(damage.state_of(0)).step == 8
  assert "without checksums: read unchecked" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    (lambda s: s.replace(weights=s.weights | {"new": s.scale}), "weights.new is not there"),
    (
      lambda s: s.replace(weights={"kernel": s.weights["kernel"]}),
      "weights.half is there, but not",
    ),
    (lambda s: s.replace(step=jnp.float32(0)), "step is int32 there, but float32 here"),
  ],
)
def test_a_state_of_another_structure_is_not_taken_for_damage(change, sentence, folder):
  match = f"step 8 .*{sentence}.*config.model"
  error = pytest.raises(checkpoint.CheckpointError, match=match)
  with checkpoint.Checkpoints(folder) as checkpoints, error as caught:
    checkpoints.restore(change(damage.state_of(0)))
  assert not isinstance(caught.value, checkpoint.DamagedError)
  assert (folder / "8").is_dir()


@pytest.mark.fast
@pytest.mark.parametrize("value", [0, 1.5, [[1, 2], [3, 4]], np.zeros((0, 3))])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, ml_dtypes.bfloat16, bool])
def test_a_checksum_is_that_of_the_values_on_any_number_of_devices(value, dtype):
  array = np.asarray(value).astype(dtype)
  replicated = jax.device_put(array, mesh_lib.replicated(mesh_lib.data_mesh(8)))
  assert integrity.checksum(array) == integrity.checksum(replicated)
  assert integrity.checksum(array)[:2] == integrity.form_of(replicated)


@pytest.mark.fast
def test_a_checksum_of_split_rows_is_that_of_the_whole():
  array = np.arange(32.0, dtype=np.float32).reshape(16, 2)
  split = mesh_lib.put_whole(mesh_lib.data_mesh(8), array)
  assert integrity.checksum(split) == integrity.checksum(array)
  assert integrity.checksum(array) != integrity.checksum(array[::-1])
