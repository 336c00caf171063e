"""Weight files as people have them, and as nobody should."""

import functools
import pathlib
import pickle
import re
import shutil
import sys
import tempfile

import numpy as np
import pytest
import torch_files
from hypothesis import given, settings
from hypothesis import strategies as st
from robustness.table import Case, check, check_sentence, parametrize
from torch_files import Call, Name, Raw, numpy_array, save

from jax_uda.models import weights
from jax_uda.models.weights import names, pickle_data, safetensors_file, torch_file, torch_records

pytestmark = pytest.mark.fast

A, B = np.arange(6, dtype="<f4").reshape(2, 3), np.ones(2, "<f4")
NET = {"backbone.a.weight": A, "decode_head.b.bias": B}
INNER = {"a.weight": A, "b.c.bias": B}  # an encoder's, without its prefix


def read(path):
  """The tensors by reference name, as lists."""
  tensors = names.to_reference(weights.read(path).tensors)
  return {name: tensor.tolist() for name, tensor in tensors.items()}


RIGHT = {name: tensor.tolist() for name, tensor in NET.items()}
RIGHT_INNER = {f"backbone.{name}": tensor.tolist() for name, tensor in INNER.items()}


def is_right(result):
  assert result == RIGHT


def file(content, legacy=False):
  """A case's `read`: the file of this content."""
  return lambda folder: read(save(folder / "w.pth", content, legacy))


def in_front(prefix, tensors=NET):
  return {prefix + name: tensor for name, tensor in tensors.items()}


SCALAR = Call(
  "numpy._core.multiarray",
  "scalar",
  (Call("numpy", "dtype", ("f8", False, True)), Call("_codecs", "encode", ("\0" * 8, "latin1"))),
)
# What lies beside the weights in files of real trainings.
BESIDE = {
  "a numpy scalar": SCALAR,
  "a numpy array": numpy_array(np.arange(3.0)),
  "argparse.Namespace": Call("argparse", "Namespace", (), {"lr": 0.1}, new=True),
  "torch.Size": Call("torch", "Size", ((2, 3),)),
  "torch.dtype": Name("torch", "float32"),
  "torch.device": Call("torch", "device", ("cuda", 0)),
  "mmengine's HistoryBuffer": Call(
    "mmengine.logging.history_buffer", "HistoryBuffer", (), {"_log_history": [1.0]}, new=True
  ),
  "a defaultdict": Call("collections", "defaultdict", (Name("builtins", "list"),)),
  "a deque": Call("collections", "deque", ([1, 2], 5)),
  "a path": Call("pathlib", "PosixPath", ("a", "b")),
  "an enum": Call("builtins", "getattr", (Name("mine", "Color"), "RED")),
  "a class of nobody": Call("no.such.module", "Thing", (1,), {"__class__": 1}, new=True),
  "a tuple as a key": {(1, 2): 3, "b": 4},
}


@parametrize(
  *(
    Case(name, file({"state_dict": NET, "meta": {"x": value}}), is_right)
    for name, value in BESIDE.items()
  ),
  *(
    Case(f"{name}, old", file({"model": NET, "x": value}, True), is_right)
    for name, value in BESIDE.items()
  ),
)
def test_what_lies_beside_the_weights_is_left_alone(case, tmp_path):
  check(case, tmp_path)


@parametrize(
  *(
    Case(key, file({key: NET, "epoch": 3}), is_right)
    for key in (
      "state_dict",
      "model_state_dict",
      "model",
      "net",
      "student",
      "teacher",
      "ema",
      "module",
    )
  ),
  *(
    Case(f"{outer} > {key}", file({outer: {key: NET}}), is_right)
    for outer, key in (
      ("model", "state_dict"),
      ("state_dict", "model"),
      ("ema", "module"),
      ("net", "net"),
    )
  ),
  Case("a name that is not customary", file({"generator": NET, "epoch": 3}), is_right),
  Case(
    "several names that are not customary",
    file({"one": NET, "two": NET}),
    sentence=r"several names, 'one', 'two'; save one of them alone",
  ),
  *(
    Case(f"{prefix} in front", file(in_front(prefix)), is_right)
    for prefix in (
      *("module.", "model.", "net.", "_orig_mod.", "student.", "whatever."),
      *(
        "module._orig_mod.",
        "_orig_mod.module.",
        "model._orig_mod.",
        "model.module.",
        "net.model.",
      ),
    )
  ),
  Case(
    "torch.compile inside",
    file({n.replace("backbone.", "backbone._orig_mod."): t for n, t in NET.items()}),
    is_right,
  ),
  *(
    Case(f"an encoder with {prefix} in front", file(in_front(prefix, INNER)), RIGHT_INNER.__eq__)
    for prefix in ("module.", "Scale.", "encoder_q.", "model.")
  ),
  Case("weights of numpy", file({n: numpy_array(t) for n, t in NET.items()}), is_right),
  Case(
    "weights of an older numpy",
    file({n: numpy_array(t, "numpy.core.multiarray") for n, t in NET.items()}),
    is_right,
  ),
  Case(
    "a plain pickle of numpy arrays",
    lambda folder: read(_plain_pickle(folder / "w.pkl", {"model": NET})),
    is_right,
  ),
  Case(
    "a parameter",
    file(
      _parameters := {
        n: Call("torch._utils", "_rebuild_parameter", (t, True, {})) for n, t in NET.items()
      }
    ),
    is_right,
  ),
  Case("of Python 2", lambda folder: read(_of_python_2(folder / "w.pth")), is_right),
  Case("old, nested", file({"model": {"state_dict": in_front("module.")}}, legacy=True), is_right),
  Case("old, a parameter", file(_parameters, legacy=True), is_right),
)
def test_the_weights_are_found_wherever_they_lie(case, tmp_path):
  check(case, tmp_path)


def _of_python_2(path):
  """As DeepLab_init.pth and its time: texts are strings of bytes."""
  save(path, {"state_dict": NET}, legacy=True)
  path.write_bytes(re.sub(rb"X(.)\0\0\0", rb"U\1", path.read_bytes()))
  return path


def _plain_pickle(path, content):
  path.write_bytes(pickle.dumps(content))
  return path


def _written(name, content):
  """A case's `read`: a file with these bytes."""
  return lambda folder: (
    (folder / name).write_bytes(content),
    weights.read(folder / name),
  )


NAN = NET | {"decode_head.b.bias": np.float32([np.nan, 1]), "x.y": np.float32([np.inf] * 3)}


@parametrize(
  Case(
    "a number that is none",
    file(NAN),
    sentence=r"b\.bias \(1 of 2 numbers\), x\.y \(3 of 3 numbers\): not fin",
  ),
  Case(
    "a whole module",
    file(Call("torch.nn.modules.linear", "Linear", (), {"_parameters": NET}, new=True)),
    sentence=r"asks for torch\.nn\.modules\.linear\.Linear and is no mapping.*save its state_dict",
  ),
  Case(
    "no tensors", file({"epoch": 1}), sentence="no mapping from names to tensors.* it has 'epoch'"
  ),
  Case(
    "a sparse tensor",
    file(NET | {"s": Call("torch._utils", "_rebuild_sparse_tensor", (1, 2))}),
    sentence=r"a tensor that torch\._utils\._rebuild_sparse_tensor makes",
  ),
  Case(
    "a name with colours of the terminal",
    file(NET | {"\x1b[31mred": A}),
    sentence=r"called '\\x1b\[31mred'",
  ),
  Case(
    "a command",
    file({"model": NET, "x": Call("posix", "system", ("true",))}),
    sentence="asks for posix.system",
  ),
  Case(
    "a page of the web",
    _written("w.pth", b"<!DOCTYPE html><html>"),
    sentence="no weight file, but a page of the web",
  ),
  Case(
    "a placeholder of Git LFS",
    _written("w.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
    sentence="git lfs pull",
  ),
  Case(
    "an empty file", _written("w.pth", b""), sentence="no PyTorch file, or truncated or damaged"
  ),
  Case(
    "a text",
    _written("w.bin", b"weights\n" * 9),
    sentence="no PyTorch file, or truncated or damaged",
  ),
)
def test_what_cannot_be_used_is_said_in_a_sentence(case, tmp_path):
  check(case, tmp_path)


def test_numbers_that_are_not_finite_can_be_asked_for(tmp_path):
  path = save(tmp_path / "w.pth", NAN)
  assert np.isnan(weights.read(path, finite=False).tensors["decode_head.b.bias"][0])


def test_student_and_teacher_under_names_of_their_own_are_told_apart(tmp_path):
  content = {"student": in_front("module."), "teacher": {n: t + 1 for n, t in NET.items()}}
  tensors = weights.read(save(tmp_path / "w.pth", content)).tensors
  for network, offset in (("student", 0), ("teacher", 1)):
    found = names.to_reference(tensors, network)
    np.testing.assert_array_equal(found["backbone.a.weight"], A + offset)


# --- nothing of a pickle comes alive ---


@pytest.mark.parametrize(
  "wish",
  [
    Name("torch._utils", "_rebuild_tensor_v2"),
    Name("jax_uda.models.weights.torch_file", "read"),
    Name("jax_uda.models.weights.pickle_data", "Record"),
    Name("collections", "OrderedDict"),
    Call("collections", "OrderedDict"),
    Call("jax_uda.models.weights.pickle_data", "Record", (1,), new=True),
  ],
)
def test_a_pickle_alters_nothing_of_ours(wish, tmp_path):
  objects = (pickle_data.Record, torch_records.tensor_of, torch_file.read, pickle_data._Machine)
  before = [(o.__dict__.copy(), getattr(o, "__defaults__", None), o.__class__) for o in objects]
  code = torch_files.encode(wish, {})
  # The two forms in which a pickle sets attributes: a dict, and a pair of which the second is set.
  for state in (
    {"__defaults__": (1,), "__class__": 2, "x": 3},
    (None, {"__defaults__": (1,), "x": 3}),
  ):
    content = {"x": Raw(code + torch_files.encode(state, {}) + b"b"), "model": NET}
    assert read(save(tmp_path / "w.pth", content)) == RIGHT
  after = [(o.__dict__.copy(), getattr(o, "__defaults__", None), o.__class__) for o in objects]
  assert [(list(a[0]), a[1:]) for a in after] == [(list(b[0]), b[1:]) for b in before]


def test_what_a_pickle_calls_is_neither_imported_nor_called(tmp_path):
  (tmp_path / "trap_of_weights.py").write_text("raise SystemExit('imported')")
  sys.path.insert(0, str(tmp_path))
  try:
    victim = tmp_path / "victim"
    calls = {
      "a": Call("trap_of_weights", "anything"),
      "b": Call("pathlib", "Path.touch", (str(victim),)),
      "c": Call("io", "open", (str(victim), "w")),
      "model": NET,
    }
    assert read(save(tmp_path / "w.pth", calls)) == RIGHT
    assert not victim.exists()
  finally:
    sys.path.remove(str(tmp_path))


# --- checksums ---


def test_a_flipped_bit_of_a_file_that_we_wrote_is_noticed_wherever_it_is(tmp_path):
  path = tmp_path / "w.safetensors"
  safetensors_file.write(path, NET, {"step": "3"})
  assert read(path) == RIGHT
  data = path.read_bytes()
  for position in range(len(data)):
    flipped = bytearray(data)
    flipped[position] ^= 1 << position % 8
    path.write_bytes(flipped)
    with pytest.raises(ValueError):
      weights.read(path)


def test_files_of_other_programs_need_no_checksum(tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  path = tmp_path / "w.safetensors"
  path.write_bytes(safetensors.save(NET, metadata={"format": "pt"}))
  assert read(path) == RIGHT


# --- chance ---


@functools.cache  # not a fixture, whose content would fill the screen if the test fails
def seeds():
  """Suffixes, bytes to damage, and what makes a file of them."""
  folder = pathlib.Path(tempfile.mkdtemp())
  content = {"state_dict": NET, "meta": BESIDE, "arrays": {"x": numpy_array(A)}}
  safetensors_file.write(folder / "w.safetensors", NET, {})
  storages: dict[str, np.ndarray] = {}
  code = torch_files.encode(content, storages)
  whole = lambda data, path: path.write_bytes(data)
  result = [
    (".pth", save(folder / "new.pth", content).read_bytes(), whole),
    (".pth", save(folder / "old.pth", content, legacy=True).read_bytes(), whole),
    (".safetensors", (folder / "w.safetensors").read_bytes(), whole),
    # Its checksum would betray a damaged pickle in a zip archive before it is looked at.
    (".pth", code, lambda data, path: torch_files.write_zip(path, bytes(data), storages)),
  ]
  shutil.rmtree(folder)
  return result


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
  kind=st.integers(0, 3),
  cut=st.one_of(st.none(), st.floats(0, 1)),
  flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
)
def test_damaged_files_end_in_tensors_or_a_sentence(tmp_path_factory, kind, cut, flips):
  suffix, data, write = seeds()[kind]
  data = bytearray(data)
  for place, bits in flips:
    data[int(place * len(data))] ^= bits
  path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
  write(data if cut is None else data[: int(cut * len(data))], path)
  try:
    for tensor in weights.read(path, finite=False).tensors.values():
      assert isinstance(tensor, np.ndarray)
  except ValueError as error:
    check_sentence(str(error))
