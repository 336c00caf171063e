"""PyTorch files: those that PyTorch wrote, one written by hand, and malicious and damaged ones."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
from torch_files import archive, call, integer, tensor, text

from jax_uda.models.weights import torch_file

pytestmark = pytest.mark.fast

NUMBERS = np.arange(6, dtype="<f4")


def test_a_file_made_by_hand_is_read_without_torch(tmp_path):
  entries = {
    "whole": tensor("0", 6, 0, (2, 3), (3, 1)),
    "transposed": tensor("0", 6, 0, (3, 2), (1, 3)),
    "part": tensor("0", 6, 4, (2,), (1,)),
    "scalar": tensor("1", 1, 0, (), (), "LongStorage"),
    "half": tensor("2", 2, 0, (2,), (1,), "BFloat16Storage"),
    "epoch": integer(3),
  }
  half = np.array([0x3F80, 0xC049], "<u2")  # 1 and -3.140625
  path = archive(tmp_path / "w.pth", entries, {"0": NUMBERS, "1": np.int64(7), "2": half})
  tensors = torch_file.read(path)
  assert list(tensors) == ["whole", "transposed", "part", "scalar", "half"]
  np.testing.assert_array_equal(tensors["whole"], NUMBERS.reshape(2, 3))
  np.testing.assert_array_equal(tensors["transposed"], NUMBERS.reshape(2, 3).T)
  np.testing.assert_array_equal(tensors["part"], [4, 5])
  assert tensors["scalar"] == 7 and tensors["scalar"].dtype == np.int64
  np.testing.assert_array_equal(tensors["half"], np.float32([1, -3.140625]))


class Malicious:
  """Would run a command on the machine of whoever unpickles it."""

  def __init__(self, command):
    self.command = command

  def __reduce__(self):
    import os

    return os.system, (self.command,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_that_asks_for_a_function_is_refused_with_its_name(tmp_path, as_zip):
  victim = tmp_path / "victim"
  content = {"state_dict": {}, "meta": Malicious(f"touch {victim}")}
  path = tmp_path / "w.pth"
  if as_zip:
    with zipfile.ZipFile(path, "w") as file:
      file.writestr("archive/data.pkl", pickle.dumps(content, 2))
  else:
    header = (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in (*header, content)))
  with pytest.raises(ValueError, match=r"w\.pth cannot be read: its pickle asks for posix\.system"):
    torch_file.read(path)
  assert not victim.exists()


@pytest.mark.parametrize(
  "name",
  ["builtins eval", "builtins getattr", "torch load", "torch.storage _load_from_bytes"],
)
def test_what_is_no_tensor_is_named_if_there_are_none(tmp_path, name):
  module, function = name.split()
  path = archive(tmp_path / "w.pth", {"a": call(module, function, text("1"))}, {})
  with pytest.raises(ValueError, match=f"asks for {module}.{function}"):
    torch_file.read(path)


@pytest.mark.parametrize(
  "offset, shape, strides",
  [(0, (2, 4), (3, 1)), (5, (2,), (1,)), (3, (3,), (-1,)), (-1, (2,), (1,))],
)
def test_a_view_that_leaves_its_storage_is_refused(tmp_path, offset, shape, strides):
  path = archive(tmp_path / "w.pth", {"a": tensor("0", 6, offset, shape, strides)}, {"0": NUMBERS})
  with pytest.raises(ValueError, match="reaches outside its storage 0"):
    torch_file.read(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x02}q\x00.", b"PK\3\4"])
def test_what_is_no_pytorch_file_is_named(tmp_path, content):
  path = tmp_path / "w.pth"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r"w\.pth"):
    torch_file.read(path)


def test_a_file_without_tensors_says_where_they_were_looked_for(tmp_path):
  path = archive(tmp_path / "w.pth", {"epoch": integer(1)}, {})
  with pytest.raises(ValueError, match="neither by itself nor under 'state_dict' or 'model'"):
    torch_file.read(path)


# --- by PyTorch ---


@pytest.fixture
def torch():
  return pytest.importorskip("torch")


def save(torch, content, path, legacy):
  torch.save(content, path, _use_new_zipfile_serialization=not legacy)
  return path


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_what_pytorch_wrote_is_read_bit_for_bit(torch, tmp_path, legacy):
  torch.manual_seed(0)
  x = torch.randn(4, 5, 3, 2)
  expected = {
    "conv.weight": x,
    "view": x[1:3, ::2],
    "permuted": x.permute(2, 3, 1, 0),
    "shared": x.view(-1)[7:9],
    "expanded": x[0, 0, 0].expand(3, 2),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    **{
      str(dtype): torch.arange(-3, 4).to(dtype)
      for dtype in (torch.float64, torch.float16, torch.int32, torch.int16, torch.int8, torch.uint8)
    },
    "bool": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.randn(3)),
  }
  bfloat16 = torch.randn(5, 2).bfloat16()
  module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
  content = {
    "state_dict": collections.OrderedDict(expected, b=bfloat16.T),
    "meta": {
      "CLASSES": ("road", "sky"),
      "PALETTE": [[128, 64, 128]],
      "config": "a = 1\n",
      "x": 1.5,
    },
    "optimizer": torch.optim.AdamW(module.parameters()).state_dict(),
  }
  tensors = torch_file.read(save(torch, content, tmp_path / "w.pth", legacy))
  assert tensors.keys() == {*expected, "b"}
  for name, value in expected.items():
    assert tensors[name].dtype == value.detach().numpy().dtype and tensors[name].flags.c_contiguous
    np.testing.assert_array_equal(tensors[name], value.detach().numpy())
  np.testing.assert_array_equal(tensors["b"], bfloat16.T.float().numpy())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_state_dict_of_a_module_is_read(torch, tmp_path, legacy):
  module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
  state_dict = module.state_dict()  # an OrderedDict with an attribute `_metadata`
  tensors = torch_file.read(save(torch, state_dict, tmp_path / "w.pth", legacy))
  assert tensors.keys() == state_dict.keys()
  np.testing.assert_array_equal(tensors["0.weight"], state_dict["0.weight"].numpy())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_truncated_file_is_named(torch, tmp_path, legacy):
  buffer = io.BytesIO()
  save(torch, {"a": torch.randn(1000)}, buffer, legacy)
  path, whole = tmp_path / "w.pth", buffer.getvalue()
  for length in np.linspace(1, len(whole) - 1, 50).astype(int):
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r"w\.pth .*truncated"):
      torch_file.read(path)


def test_a_whole_module_instead_of_its_weights_is_refused(torch, tmp_path):
  path = tmp_path / "w.pth"
  torch.save(torch.nn.Linear(2, 3), path)
  with pytest.raises(ValueError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
    torch_file.read(path)
