"""Files that were made to run code or to exhaust memory, by kind, and how they are read.

`python hostile_files.py FOLDER KIND` reads those of a kind that `make` has written, and prints for each a line of
JSON: its name, the error's sentence, the MiB of memory that reading took at most, the MiB that its decoded
content takes, and what Python was asked for that a file must not ask for.
"""

import contextlib
import io
import json
import os
import pathlib
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch_files
from robustness import test_weight_bombs as weight_bombs
from torch_files import Call, Name, Raw

MIB = 2**20
NET = {"backbone.a.weight": np.arange(6, dtype="<f4").reshape(2, 3)}
# Events of Python's that only code has: see its list of audit events.
EVENTS = (
  "os.system",
  "os.exec",
  "os.posix_spawn",
  "os.fork",
  "subprocess.Popen",
  "pickle.find_class",
)
EVENTS += ("socket.connect", "os.remove", "os.chmod", "ctypes.dlopen")


class Hostile(NamedTuple):
  """A file.

  Attributes:
    write: Writes it; gets a path without an ending and returns that with it.
    decoded: MiB of what it decodes to; 0: it is small, or cannot be decoded.
  """

  write: Callable[[pathlib.Path], pathlib.Path]
  decoded: float = 0


def _pickle(wish: Any, legacy: bool = False) -> Hostile:
  def write(path):
    return torch_files.save(path.with_suffix(".pth"), {"model": NET, "x": wish}, legacy)

  return Hostile(write)


def _altering(name: str, state: Any) -> Any:
  """A pickle that sets attributes of a function or a class of ours."""
  code = torch_files.encode(Name(*name.rsplit(".", 1)), {})
  return Raw(code + torch_files.encode(state, {}) + b"b")


CODE = {
  "os.system": Call("posix", "system", ("touch victim",)),
  "eval": Call("builtins", "eval", ("open('victim', 'w')",)),
  "exec": Call("builtins", "exec", ("open('victim', 'w')",)),
  "__import__": Call("builtins", "__import__", ("antigravity",)),
  "subprocess": Call("subprocess", "Popen", (["touch", "victim"],)),
  "open": Call("io", "open", ("victim", "w")),
  "touch": Call("pathlib", "Path.touch", ("victim",)),
  "runpy": Call("runpy", "run_path", ("victim.py",)),
  "getattr": Call("builtins", "getattr", (Name("os", "path"), "join")),
  "partial": Call("functools", "partial", (Name("os", "system"), "touch victim")),
  "attrgetter": Call("operator", "attrgetter", ("__globals__",)),
  "copyreg": Call("copyreg", "_reconstructor", (Name("subprocess", "Popen"), Name("builtins", "object"), None)),
  "an object": Call("subprocess", "Popen", (["touch", "victim"],), {"x": 1}, new=True),
  "ctypes": Call("ctypes", "CDLL", ("libc.so.6",)),
  "numpy": Call("numpy", "load", ("victim.npy",)),
  "defaults": _altering("torch._utils._rebuild_tensor", {"__defaults__": (1,)}),
  "defaults of v2": _altering("torch._utils._rebuild_tensor_v2", (None, {"__defaults__": (1,)})),
  "a class of ours": _altering("jax_uda.models.weights.pickle_data.Record", {"__class__": 2}),
}  # fmt: skip


def _chunk(name: bytes, data: bytes) -> bytes:
  return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(height: int, width: int, depth: int = 1, kind: int = 0, before: bytes = b"") -> bytes:
  """A PNG of zeros."""
  channels = {0: 1, 2: 3, 3: 1, 6: 4}[kind]
  line = bytes(1 + (width * depth * channels + 7) // 8)
  compress = zlib.compressobj(9)
  data = b"".join(compress.compress(line) for _ in range(height)) + compress.flush()
  header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
  chunks = _chunk(b"IHDR", header) + before + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + chunks


def _image(content: Callable[[], bytes], decoded: float = 0, ending: str = ".png") -> Hostile:
  def write(path):
    path = path.with_suffix(ending)
    path.write_bytes(content())
    return path

  return Hostile(write, decoded)


def _text_chunk(name: bytes, size: int) -> bytes:
  start = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
  return _chunk(name, start + zlib.compress(bytes(size), 9))


def _tiff_header(width: int, height: int) -> bytes:
  """A TIFF of one strip that says how large it is."""
  tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 4}
  entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
  return (
    struct.pack("<2sHIHH", b"II", 42, 12, 0, 0)[:12]
    + struct.pack("<H", len(tags))
    + entries
    + bytes(4)
  )


IMAGES = {
  "a PNG of 16000x16000": _image(lambda: _png(16000, 16000), 3 * 16000**2 / MIB),
  "a PNG of 20000x20000": _image(lambda: _png(20000, 20000)),
  "a PNG with the header of 2^31 rows": _image(lambda: _png(8, 8).replace(struct.pack(">II", 8, 8), struct.pack(">II", 2**31 - 1, 2**31 - 1))),
  "a PNG with text": _image(lambda: _png(8, 8, before=_text_chunk(b"zTXt", 256 * MIB))),
  "a PNG with text of the world": _image(lambda: _png(8, 8, before=_text_chunk(b"iTXt", 256 * MIB))),
  "a PNG with colors": _image(lambda: _png(8, 8, before=_text_chunk(b"iCCP", 256 * MIB))),
  "a BMP": _image(lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0), ending=".bmp"),
  "a WebP": _image(lambda: b"RIFF" + struct.pack("<I4s4sII", 22, b"WEBP", b"VP8L", 5, 0x2F) + b"\xff\xff\xff\x0f", ending=".webp"),
  "a JPEG": _image(lambda: b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x11\0\2\x11\0\3\x11\0\xff\xd9", ending=".jpg"),
  "a TIFF": _image(lambda: _tiff_header(2**20, 2**20), ending=".tif"),
}  # fmt: skip


def _json(text: Callable[[], bytes], decoded: float = 0) -> Hostile:
  def write(path):
    path = path.with_suffix(".json")
    path.write_bytes(text())
    return path

  return Hostile(write, decoded)


JSON = {
  "nested lists": _json(lambda: b"[" * 4_000_000),
  "nested objects": _json(lambda: b'{"a":' * 1_000_000),
  "a number": _json(lambda: b'{"step": ' + b"9" * 1_000_000 + b"}"),
  "an exponent": _json(lambda: b'{"step": 1e99999999}'),
  "zeros": _json(lambda: bytes(8 * MIB)),
  # An empty list takes 56 bytes and its place in another one 8.
  "many lists": _json(lambda: b'{"a":[' + b"[]," * 10**6 + b"[]]}", 64 * 10**6 / MIB),
}


def _npz(shape: tuple[int, ...], content: bytes, decoded: float = 0) -> Hostile:
  """An array in a deflated archive: what its header says, and its bytes."""

  def write(path):
    path = path.with_suffix(".npz")
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
      archive.writestr("a.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content)
    return path

  return Hostile(write, decoded)


def _npz_of_a_pickle(path: pathlib.Path) -> pathlib.Path:
  path = path.with_suffix(".npz")
  np.savez(path, a=np.array([{"x": 1}], dtype=object))
  return path


ARRAYS = {
  "an array of 4 TB": _npz((2**42,), b"1234"),
  "an array of 8 GB": _npz((2**33,), b"1234"),
  "an array of zeros": _npz((64 * MIB,), bytes(64 * MIB), 64),
  "an array of objects": Hostile(_npz_of_a_pickle),
}


def _checkpoint(change: Callable[[Any, pathlib.Path], None]) -> Hostile:
  """A folder of checkpoints, of which the newer one is changed: its key-value store, its folder."""

  def write(path):
    import damage
    import tensorstore as ts

    damage.make(path)
    place = f"file://{path / '8' / 'default'}/"
    change(ts.KvStore.open({"driver": "ocdbt", "base": place}).result(), path / "8")
    return path

  return Hostile(write)


def _declare(**fields: Any) -> Hostile:
  """All arrays of two dimensions say other things of themselves."""

  def change(store, folder):
    for key in store.list().result():
      if key.endswith(b".zarray"):
        described = json.loads(store.read(key).result().value)
        if len(described["shape"]) == 2:
          store.write(key, json.dumps(described | fields).encode()).result()

  return _checkpoint(change)


def _replace(name: str, content: bytes) -> Hostile:
  return _checkpoint(lambda store, folder: (folder / name).write_bytes(content))


CHECKPOINTS = {
  "a huge shape": _declare(shape=[2**20, 2**20]),
  "huge chunks": _declare(chunks=[2**20, 2**20]),
  "large chunks": _declare(chunks=[2**14, 2**14]),
  "huge shapes and chunks": _declare(shape=[2**18, 2**18], chunks=[2**18, 2**18]),
  "nested metadata": _replace("default/_METADATA", b"[" * 4_000_000),
  "nested checksums": _replace("checksums/metadata", b'{"a":' * 1_000_000),
  "shardings": _replace("default/_sharding", b"{" + b'"a":"b",' * 10**6 + b'"c":1}'),
}


def _records(write_records: Callable[[pathlib.Path], None]) -> Hostile:
  def write(path):
    path = path.with_suffix(".array_record")
    write_records(path)
    return path

  return Hostile(write)


def _write_records(path: pathlib.Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
  from array_record.python import array_record_module

  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
  writer.write(b"a" * 1000)
  writer.close()
  path.write_bytes(change(bytearray(path.read_bytes())))


def _sizes(data: bytearray) -> bytearray:
  """All numbers of eight bytes in the headers become huge."""
  for start in range(64, 128, 8):
    data[start : start + 8] = struct.pack("<Q", 2**60)
  return data


RECORDS = {
  "records with huge sizes": _records(lambda path: _write_records(path, _sizes)),
  "records of zeros": _records(lambda path: path.write_bytes(bytes(4 * MIB))),
  "records of ones": _records(lambda path: path.write_bytes(b"\xff" * 4 * MIB)),
}
CORPUS: dict[str, dict[str, Hostile]] = {
  "weights that want to run code": {
    **{name: _pickle(wish) for name, wish in CODE.items()},
    **{f"{name}, old": _pickle(wish, legacy=True) for name, wish in CODE.items()},
  },
  "weights that want memory": {
    bomb.__name__: Hostile(lambda path, bomb=bomb: bomb(path.with_suffix(".pth")))
    for bomb in weight_bombs.BOMBS
  },
  "images and labels": IMAGES,
  "JSON": JSON,
  "arrays": ARRAYS,
  "checkpoints": CHECKPOINTS,
  "records": RECORDS,
}


def make(folder: pathlib.Path, kind: str) -> None:
  """Writes the files of a kind, each into a folder with its name."""
  for name, hostile in CORPUS[kind].items():
    (folder / name).mkdir(parents=True)
    hostile.write(folder / name / "file")


def _readers(kind: str) -> list[Callable[[pathlib.Path], Any]]:
  """What the library does with such files; everything is imported, and used once."""
  if kind.startswith("weights"):
    from jax_uda.models import weights
    from jax_uda.models.weights import safetensors_file

    safetensors_file._library()
    return [weights.read]
  if kind == "images and labels":
    from jax_uda.data.datasets import image_files

    return [image_files.read_image, image_files.read_values]
  if kind == "JSON":
    from jax_uda.common import state_files

    return [lambda path: state_files.read_json(path, dict, "it is hostile; remove it")]
  if kind == "arrays":
    return [_read_arrays]
  if kind == "records":
    return [_read_records]
  import damage

  from jax_uda.run import checkpoint

  def restore(path):
    with checkpoint.Checkpoints(path, None) as checkpoints:
      return checkpoints.restore(damage.state_of(0))

  damage.make(pathlib.Path("warm"))
  restore(pathlib.Path("warm"))
  return [restore]


def _read_arrays(path: pathlib.Path) -> Any:
  from jax_uda.common import state_files

  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    arrays = state_files.read_arrays(path, "it is lost")
  if not arrays:
    raise ValueError(out.getvalue().strip())
  return arrays


def _read_records(path: pathlib.Path) -> None:
  from jax_uda.data.datasets import seal

  for name in seal.damaged_records(path.parent):
    raise seal.DamagedDataError(path.parent, name, "a record cannot be read")


def _mib(key: str) -> float:
  """A number of this process's memory, in MiB."""
  text = pathlib.Path("/proc/self/status").read_text()
  return int(text.split(f"{key}:")[1].split()[0]) / 1024


def read_all(folder: pathlib.Path, kind: str) -> None:
  """Reads the files of a kind; see above."""
  asked: list[str] = []
  readers = _readers(kind)
  is_writing = lambda event, arguments: (
    event == "open" and any(c in str(arguments[1]) for c in "wax+")
  )
  listens = [True]

  def note(event: str, arguments: tuple) -> None:
    if listens[0] and (event in EVENTS or is_writing(event, arguments)):
      asked.append(f"{event} {arguments[:2]}")

  sys.addaudithook(note)
  for name, hostile in CORPUS[kind].items():
    (path,) = (folder / name).iterdir()
    text, peak = "", 0.0
    for read in readers:
      pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
      asked.clear()
      before = _mib("VmRSS")
      try:
        text = f"value {type(read(path)).__name__}"
      except ValueError as error:
        text = str(error)
      peak = max(peak, _mib("VmHWM") - before)
    listens[0] = False
    size = sum(file.stat().st_size for file in (folder / name).rglob("*")) / MIB
    print(json.dumps([name, text, peak, max(hostile.decoded, size), asked]), flush=True)
    listens[0] = True


if __name__ == "__main__":
  place, chosen = pathlib.Path(sys.argv[1]), sys.argv[2]
  os.chdir(place.parent)
  read_all(place, chosen)
