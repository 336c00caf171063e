"""PyTorch's files, written without PyTorch: pickles by hand, in the opcodes of protocol 2."""

import pickle
import zipfile
from typing import Any, NamedTuple

import numpy as np

from jax_uda.models.weights import torch_file

KINDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte"}


class Call(NamedTuple):
  """What a pickle wants to call: `module.name(*arguments)`, and the state it sets afterwards."""

  module: str
  name: str
  arguments: tuple = ()
  state: Any = None
  new: bool = False  # by NEWOBJ, as objects of classes are made


class Name(NamedTuple):
  """A class or function that a pickle names."""

  module: str
  name: str


class Raw(NamedTuple):
  """Opcodes as they are."""

  code: bytes


def text(value):
  return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def integer(value):
  if -(2**31) <= value < 2**31:
    return b"J" + value.to_bytes(4, "little", signed=True)
  return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def tuple_of(*items):
  return b"(" + b"".join(items) + b"t"


def call(module, name, *arguments):
  return f"c{module}\n{name}\n".encode() + tuple_of(*arguments) + b"R"


def tensor(key, count, offset, shape, strides, kind="FloatStorage"):
  storage = tuple_of(
    text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), integer(count)
  )
  numbers = lambda values: tuple_of(*map(integer, values))
  return call(
    "torch._utils",
    "_rebuild_tensor_v2",
    storage + b"Q",
    integer(offset),
    numbers(shape),
    numbers(strides),
    b"\x89",  # False
    call("collections", "OrderedDict"),
  )


def encode(value, storages):
  """The opcodes of a value. NumPy arrays become tensors, whose numbers go into the dict `storages`."""
  inner = lambda *values: b"".join(encode(item, storages) for item in values)
  match value:
    case Raw(code):
      return code
    case Name(module, name):
      return f"c{module}\n{name}\n".encode()
    case Call():
      start = inner(Name(value.module, value.name), tuple(value.arguments))
      state = b"" if value.state is None else inner(value.state) + b"b"
      return start + (b"\x81" if value.new else b"R") + state
    case np.ndarray():
      key = str(len(storages))
      storages[key] = np.ascontiguousarray(value)
      strides = [stride // value.itemsize for stride in storages[key].strides]
      kind = f"{KINDS[value.dtype.str[1:]]}Storage"
      return tensor(key, value.size, 0, value.shape, strides, kind)
    case dict():
      pairs = (inner(key) + inner(item) for key, item in value.items())
      return b"}(" + b"".join(pairs) + b"u"
    case list():
      return b"](" + inner(*value) + b"e"
    case tuple():
      return b"(" + inner(*value) + b"t"
  return pickle.dumps(value, 2)[2:-1]


def archive(path, entries, storages):
  """A file with a dict of `entries` (name -> opcodes) as PyTorch's zip format has it."""
  body = b"".join(text(name) + value for name, value in entries.items())
  return write_zip(path, b"}(" + body + b"u", storages)


def write_zip(path, code, storages, compression=zipfile.ZIP_STORED):
  """A file in the zip format with the opcodes of its content."""
  with zipfile.ZipFile(path, "w", compression) as file:
    file.writestr("archive/data.pkl", b"\x80\x02" + code + b".")
    for key, data in storages.items():
      file.writestr(f"archive/data/{key}", np.ascontiguousarray(data).tobytes())
  return path


def write_legacy(path, code, storages):
  """A file in the format before PyTorch 1.6 with the opcodes of its content."""
  header = (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, {"little_endian": True})
  with open(path, "wb") as file:
    for part in header:
      file.write(pickle.dumps(part, 2))
    file.write(b"\x80\x02" + code + b"." + pickle.dumps(list(storages), 2))
    for data in storages.values():
      file.write(data.size.to_bytes(8, "little") + data.tobytes())
  return path


def save(path, content, legacy=False):
  """Writes a content with NumPy arrays in place of tensors, as `torch.save` would."""
  storages: dict[str, np.ndarray] = {}
  code = encode(content, storages)
  return (write_legacy if legacy else write_zip)(path, code, storages)


def numpy_array(array, module="numpy._core.multiarray"):
  """As protocol 2 pickles an array."""
  dtype = Call("numpy", "dtype", (array.dtype.str[1:], False, True), (3, "<", None, None, None, -1))
  raw = Call("_codecs", "encode", (array.tobytes().decode("latin-1"), "latin1"))
  start = (Name("numpy", "ndarray"), (0,), b"b")
  return Call(module, "_reconstruct", start, (1, array.shape, dtype, False, raw))
