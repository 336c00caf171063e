"""Which image files are predicted, and under which names: what a user gives as `--images`."""

import glob
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jax_uda.common.log import say
from jax_uda.data.datasets import folder_pairs as image_folders
from jax_uda.run import video

LIST_ENDING = ".txt"


class Image(NamedTuple):
  """An image to predict.

  Attributes:
    file: The image file, or a video.
    name: The path of its prediction below the output folder, without the ending.
  """

  file: pathlib.Path
  name: str


def find(images: str | Sequence[str], suffix: str = "", *, is_flat: bool = False) -> list[Image]:
  """The image and video files that a text, or each of several, names, in order.

  A prediction is called like its image. Where two images have one name, in different folders, all
  predictions lie in folders as the images do.

  Args:
    images: A file, a folder, which is searched with all folders below it, or a list file (`@list`, or a file
      that ends in .txt), whose lines are files or folders; several with commas between them. `*` stands
      for any part of a name. A path that exists is taken as it is.
    suffix: End of the stems of the images in folders; other files are left out.
    is_flat: Whether predictions must lie in one folder.

  Raises:
    ValueError: Something does not exist, there is no image, or two images would have the same prediction.
  """
  texts = [images] if isinstance(images, str) else images
  paths = [path for text in texts for item in _items(text) for path in _files_of(item, suffix)]
  paths = list(dict.fromkeys(paths))
  if not paths:
    raise ValueError(
      f"--images={','.join(texts)}: no image whose name ends in {suffix!r} and, e.g., .png."
    )
  if len({path.stem for path in paths}) == len(paths):
    return [Image(path, path.stem) for path in paths]
  if is_flat:
    first, second = _same(paths, [path.stem for path in paths])
    raise ValueError(
      f"{first} and {second} would have the same prediction file {first.stem}.png; predict them one "
      "after the other, in two folders."
    )
  absolute = [pathlib.Path(os.path.abspath(path)) for path in paths]
  top = os.path.commonpath([path.parent for path in absolute])
  names = [path.relative_to(top).with_suffix("").as_posix() for path in absolute]
  if len(set(names)) < len(names):
    first, second = _same(paths, names)
    raise ValueError(
      f"{first} and {second} have one name but for their endings and would have the same prediction file; "
      "predict them one after the other, in two folders."
    )
  say(f"some images have the same name: predictions lie in folders as the images in {top} do")
  return [Image(path, name) for path, name in zip(paths, names, strict=True)]


def _same(paths: Sequence[pathlib.Path], names: Sequence[str]) -> tuple[pathlib.Path, pathlib.Path]:
  """The first two files of the first name that occurs more than once."""
  repeated = next(name for name, number in Counter(names).items() if number > 1)
  first, second, *_ = (path for path, name in zip(paths, names, strict=True) if name == repeated)
  return first, second


def _items(text: str) -> Iterator[str]:
  """The parts of a text between its commas; a part with commas is one if there is such a path."""
  parts = text.split(",")
  while parts:
    joined = (",".join(parts[:number]).strip() for number in range(len(parts), 1, -1))
    item = next((item for item in joined if _is_there(item)), parts[0].strip())
    yield item
    parts = parts[item.count(",") + 1 :]


def _is_there(item: str) -> bool:
  return os.path.exists(os.path.expanduser(item.removeprefix("@")))


def _files_of(item: str, suffix: str) -> list[pathlib.Path]:
  """The image files that one item names.

  Raises:
    ValueError: There is no such file or folder.
  """
  path = pathlib.Path(os.path.expanduser(item))
  if path.is_dir():
    return [pathlib.Path(file) for file in image_folders.files(path, suffix=suffix).values()]
  if path.is_file():
    return _listed(path, suffix) if path.suffix.lower() == LIST_ENDING else [path]
  if item.startswith("@"):
    return _listed(pathlib.Path(os.path.expanduser(item.removeprefix("@"))), suffix)
  matches = [pathlib.Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
  if not matches:
    raise ValueError(
      f"--images={item}: there is no such file or folder on this machine; name files, folders, patterns "
      "with *, or a list of them, @list.txt."
    )
  return [
    file
    for match in matches
    if match.is_dir() or match.suffix.lower() in (*image_folders.IMAGE_ENDINGS, *video.ENDINGS)
    for file in (_files_of(str(match), suffix) if match.is_dir() else [match])
    if match.is_dir() or match.stem.endswith(suffix)
  ]


def _listed(file: pathlib.Path, suffix: str) -> list[pathlib.Path]:
  """The image files that a list file names, one file or folder a line; `#` begins a remark.

  Raises:
    ValueError: The list cannot be read, or a line names nothing.
  """
  try:
    lines = file.read_bytes().decode("utf-8-sig", "surrogateescape").splitlines()
  except OSError as error:
    raise ValueError(f"--images=@{file} cannot be read: {error.strerror or error}.") from None
  paths = []
  for line in filter(None, (line.strip() for line in lines)):
    if line.startswith("#"):
      continue
    beside = file.parent / os.path.expanduser(line)
    is_beside = not _is_there(line) and beside.exists()
    paths += _files_of(str(beside) if is_beside else line.removeprefix("@"), suffix)
  return paths
