"""The two forms in which a data set made of files can be stored, and how much room it takes.

"resized" stores images, and labels for training, at the size that batches show; "original" stores the files
as they are, and `Examples` resizes them with the same result. Enlarged images take more room than their
files; reduced images take less.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from jax_uda.common import paths, registry
from jax_uda.data.datasets import from_files
from jax_uda.data.datasets.from_files import FromFiles, Splits
from jax_uda.data.datasets.pairs import Pair

STORES = ("auto", "resized", "original")  # auto: the form that is prepared, else the smaller one
SAMPLE = 8  # the number of pairs of a split that are converted for an estimate
SMALL = 100e6  # bytes of image files below which "auto" does not look for the smaller form

F = TypeVar("F", bound=FromFiles)


def choose(make: Callable[[from_files.Config], F], settings: from_files.Config, store: str) -> F:
  """The data set in one of its forms.

  Args:
    make: Makes the data set from its settings.
    settings: The settings of the form "resized"; the form "original" has another name.
    store: One of `STORES`.

  Raises:
    SettingError: The form is unknown.
  """
  registry.lookup(dict.fromkeys(STORES), store, "store")
  resized = make(settings)
  if store == "resized" or (store == "auto" and settings.size is None):
    return resized
  name = f"{settings.name}-original"
  find = lambda: settings.pairs  # they are searched for once
  name_at = settings.name_at and (lambda root: f"{settings.name_at(root)}-original")  # pyright: ignore[reportOptionalCall]
  changes = dict(name=name, name_at=name_at, find=find, store="original")
  original = make(dataclasses.replace(settings, **changes))
  if store == "original":
    return original
  forms = (resized, original)
  is_begun = lambda form: partial_folder(form).exists()
  ready = next((form for form in forms if form.is_complete), None)
  ready = ready or next((form for form in forms if is_begun(form)), None)
  if ready:
    return ready
  try:
    pairs = settings.pairs
  except ValueError:  # there are no files; preparing says so
    return resized
  twins = (form for form in forms if not form.stored and form.find_twin())
  if moved := next(twins, None):  # prepared before these files were moved
    return moved
  if sum(map(files_bytes, pairs.values())) < SMALL:
    return resized
  return min(forms, key=lambda form: estimate(form, pairs))


def partial_folder(dataset: FromFiles) -> pathlib.Path:
  """The folder of an interrupted preparation."""
  folder = pathlib.Path(dataset.data_path)
  return folder.with_name(f"{folder.name}.partial")


def estimate(dataset: FromFiles, splits: Splits) -> int:
  """The bytes that pairs take when they are stored.

  Converts some pairs of each split; those that cannot be used are passed over. Others count by the lengths
  of their image files.

  Args:
    dataset: The data set, in one of its forms.
    splits: The pairs.
  """
  total = 0.0
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
    for split, pairs in splits.items():
      sample = pairs[:: max(len(pairs) // SAMPLE, 1)][:SAMPLE]
      sizes = list(pool.map(lambda pair, split=split: _stored_bytes(dataset, split, pair), sample))
      read = files_bytes([pair for pair, size in zip(sample, sizes, strict=True) if size])
      if read:
        total += sum(sizes) * files_bytes(pairs) / read
  return round(total)


def files_bytes(pairs: Iterable[Pair]) -> int:
  """The bytes of the image files of pairs; a file that is missing has none."""
  return sum((paths.stamp(pair.image) or [0])[0] for pair in pairs)


def _stored_bytes(dataset: FromFiles, split: str, pair: Pair) -> int:
  """The length of a record; 0 if the pair cannot be used."""
  try:
    return len(dataset.convert(split, pair).record)
  except ValueError:
    return 0
