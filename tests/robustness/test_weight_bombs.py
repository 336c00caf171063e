"""Weight files that were made to exhaust memory, all generated: each ends in a sentence."""

import json
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import torch_files
from robustness.table import check_sentence
from torch_files import numpy_array, save

from jax_uda.models import weights

MEGABYTE = 2**20


def bomb_of_stride_0(path):
  """Four bytes that are to become 4 TB."""
  return torch_files.archive(
    path, {"a": torch_files.tensor("0", 1, 0, (2**20, 2**20), (0, 0))}, {"0": np.ones(1, "<f4")}
  )


def bomb_of_many_views(path):
  """A storage of 1 MB that is to become 2000 tensors."""
  views = {f"t{i}": torch_files.tensor("0", 2**18, i, (2**18 - i,), (1,)) for i in range(2000)}
  return torch_files.archive(path, views, {"0": np.zeros(2**18, "<f4")})


def bomb_of_a_storage(path):
  """A storage that says that it has 4 TB."""
  return torch_files.archive(
    path, {"a": torch_files.tensor("0", 2**40, 0, (2,), (1,))}, {"0": np.ones(2, "<f4")}
  )


def bomb_of_an_old_storage(path):
  code = torch_files.tensor("0", 2**40, 0, (2,), (1,))
  torch_files.write_legacy(
    path, b"}(" + torch_files.text("a") + code + b"u", {"0": np.ones(2, "<f4")}
  )
  data = path.read_bytes()
  path.write_bytes(data[:-16] + (2**40).to_bytes(8, "little") + data[-8:])
  return path


def _deflated(path, code, storages):
  return torch_files.write_zip(path, code, storages, zipfile.ZIP_DEFLATED)


def bomb_of_a_deflated_pickle(path):
  return _deflated(path, torch_files.encode({"x": "a" * (32 * MEGABYTE)}, {}), {})


def bomb_of_deflated_numbers(path):
  entries = torch_files.text("a") + torch_files.tensor("0", 2**23, 0, (2**23,), (1,))
  return _deflated(path, b"}(" + entries + b"u", {"0": np.zeros(2**23, "<f4")})


def bomb_of_a_false_size(path):
  """A deflated member whose directory entry declares a small size."""
  bomb_of_deflated_numbers(path)
  data, size = path.read_bytes(), 2**25
  path.write_bytes(data.replace(size.to_bytes(4, "little"), (8).to_bytes(4, "little")))
  return path


def bomb_of_the_memo(path):
  """The unpickler of the standard library would make room for 2^31 memos."""
  return torch_files.write_zip(path, b"}r\xff\xff\xff\x7f", {})


def bomb_of_nesting(path):
  return torch_files.write_zip(path, b"]" * 500_000 + b"a" * 499_999, {})


def bomb_of_nested_keys(path):
  """A tuple of 2^60 items as a key, whose hash would never be ready."""
  code = b"N" + b"2\x86" * 60
  return torch_files.write_zip(path, b"}" + code + b"Ns", {})


def bomb_of_steps(path):
  return torch_files.write_zip(path, b"(" + b"}" * 3_000_000 + b"l", {})


def bomb_of_shared_arrays(path):
  """One text of 1 MB that is to become 2000 arrays."""
  array = numpy_array(np.zeros(2**18, "<f4"))
  first = torch_files.encode(array, {})
  entries = torch_files.text("a0") + first + b"q\1"
  for i in range(1, 2000):
    entries += torch_files.text(f"a{i}") + b"h\1"
  return torch_files.write_zip(path, b"}(" + entries + b"u", {})


def bomb_of_a_directory(path):
  """A zip archive with a directory of 9 MB, of which every 46 bytes would become an object."""
  size = 9 * MEGABYTE
  end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, size, 4, 0)
  path.write_bytes(b"PK\3\4" + bytes(size) + end)
  return path


def bomb_of_a_rare_compression(path):
  """LZMA's header may ask for a dictionary of 4 GB."""
  return torch_files.write_zip(path, b"}", {}, zipfile.ZIP_LZMA)


def _safetensors(path, header, data=b""):
  path = path.with_suffix(".safetensors")
  path.write_bytes(struct.pack("<Q", len(header)) + header + data)
  return path


def bomb_of_offsets(path):
  return _safetensors(
    path, b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
  )


def bomb_of_overlaps(path):
  entry = '"a%d":{"dtype":"F32","shape":[262144],"data_offsets":[0,1048576]}'
  header = "{" + ",".join(entry % i for i in range(2000)) + "}"
  return _safetensors(path, header.encode(), bytes(MEGABYTE))


def bomb_of_a_header(path):
  path = path.with_suffix(".safetensors")
  path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
  return path


BOMBS = [value for name, value in sorted(globals().items()) if name.startswith("bomb_")]

MEASURE = """
import json, resource, sys
from jax_uda.models import weights
from jax_uda.models.weights import safetensors_file
safetensors_file._library()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for path in sys.argv[1:]:
  before = peak()
  try:
    weights.read(path)
    text = ""
  except ValueError as error:
    text = str(error)
  print(json.dumps([text, peak() - before]))
"""
# Megabytes: twice the largest of these files, and the room of the largest program (`MAX_STEPS`).
LIMIT = 2 * 9 + 200


def test_bombs_end_in_a_sentence_within_the_stated_memory(tmp_path):
  paths = []
  for bomb in BOMBS:
    (tmp_path / bomb.__name__).mkdir()
    paths.append(str(bomb(tmp_path / bomb.__name__ / "w.pth")))
  command = [sys.executable, "-c", MEASURE, *paths]
  output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
  total = 0
  for path, line in zip(paths, output.splitlines(), strict=True):
    text, megabytes = json.loads(line)
    check_sentence(text)
    assert text.startswith(path)
    total += megabytes
    assert total < LIMIT, path


def test_an_honest_file_needs_twice_its_size_at_most(tmp_path):
  content = {f"a.{i}": np.zeros(2**20, "<f4") for i in range(4)}
  path = save(tmp_path / "w.pth", content)
  tracemalloc.start()
  try:
    weights.read(path)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2 * path.stat().st_size
