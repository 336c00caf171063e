import numpy as np
import pytest

from jax_uda.data import datasets
from jax_uda.data.builders import from_files

BAD_SIZES = ((720,), (0, 0), (-5, 10), "720,1280", (720.0, 1280.0), (1, 2, 3), 512, (True, 4), None)


@pytest.mark.parametrize("size", BAD_SIZES)
def test_a_size_that_is_none_is_explained(size):
  with pytest.raises(
    ValueError, match=r"config\.data\.source\.size = .* must be \(height, width\)"
  ):
    from_files.check_size(size, "data.source.size")


def test_sizes_become_tuples():
  assert from_files.check_size([np.int64(3), 4], "x") == (3, 4)
  assert from_files.check_size((), "x") == ()


@pytest.mark.parametrize(
  "spec",
  (
    dict(name="gta5"),
    dict(name="folders", train=("a",), val=("a",), classes=("x", "y")),
    dict(name="camvid", train=("train",), val=("val",)),
  ),
)
def test_all_sets_of_files_check_their_size(tmp_path, spec):
  with pytest.raises(ValueError, match=r"config\.data\.source\.size = \(0, 0\) must be"):
    spec = dict(**spec, path=str(tmp_path), size=(0, 0))
    datasets.find_builder(spec, tmp_path / "prepared", "data.source")
