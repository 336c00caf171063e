"""The drill on all files but those of checkpoints: bits flipped, files cut and deleted.

Reading a harmed file ends in what was written, or in one sentence that names the file.
"""

import contextlib
import io
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import damage
import drill_table
import faulty_disk
import numpy as np
import pytest
import torch_files
from robustness import test_state_files
from robustness.table import check_sentence

from jax_uda.data.datasets import image_files
from jax_uda.data.pipeline import stored_labels
from jax_uda.data.pipeline.examples import Examples
from jax_uda.models import weights
from jax_uda.models.weights import safetensors_file
from jax_uda.run import bad_batches, best_checkpoint
from jax_uda.run.report import confusion, embeddings, examples, metric_lines, prototypes

pytestmark = pytest.mark.faults

FLIPS, CUTS = 24, 8  # of each kind of file
RNG = np.random.default_rng(0)
TENSORS = {"backbone.a.weight": RNG.normal(size=(8, 3)).astype("<f4")}


class Kind(NamedTuple):
  """A kind of file.

  Attributes:
    name: Its name below the folder that `write` fills.
    write: Writes it into an empty folder.
    read: What the library reads of it.
    drops: Whether a part that is damaged is left out, said so, rather than refused.
  """

  name: str
  write: Callable[[pathlib.Path], Any]
  read: Callable[[pathlib.Path], Any]
  drops: bool = False


def _write_metrics(folder):
  rows = [{"step": step, "loss": step / 3, "miou/student": None} for step in range(1, 6)]
  (folder / "metrics.jsonl").write_text("".join(map(metric_lines.to_line, rows)))


def _read_metrics(folder):
  metric_lines.keep_until(folder, 9)
  return metric_lines.read(folder).rows


def _write_best(folder):
  damage.make(folder / "best_on_target" / "8")
  note = best_checkpoint.Best(8, 0.25, "student")._asdict()
  test_state_files.state_files.write_json(folder / "best_on_target" / "best.json", note)


def _write_examples(folder):
  image = RNG.integers(0, 256, (6, 8, 3), np.uint8)
  kept = examples.Example("a.png", image, image[..., 0], {"student": image[..., 1]})
  examples.write(folder, [kept])


def _write_embeddings(folder):
  sample = {"embedding": RNG.normal(size=(9, 4)), "label": np.arange(9)}
  embeddings.save(folder / "projection_start.npz", sample)


def _write_pseudo_labels(folder):
  (folder / "labels").mkdir()
  label = RNG.integers(0, 5, (20, 30), np.uint8)
  stored_labels.label_path(folder, 0).write_bytes(image_files.encode_png(label))


def _of_weights(name):
  return lambda folder: weights.read(folder / name).tensors


def _arrays(name, read):
  write = lambda folder: confusion.state_files.write_arrays(folder / name, {"term@1": np.eye(5)})
  return Kind(name, write, read, drops=True)


KINDS = {
  **{name: Kind(name, kind[0], kind[1]) for name, kind in test_state_files.KINDS.items()},
  "bad_batches.json": Kind(
    "bad_batches.json",
    lambda folder: bad_batches.add(folder, batch=7, step=5, cause="the loss is not finite"),
    bad_batches.read,
  ),
  "best.json": Kind("best_on_target/best.json", _write_best, best_checkpoint.read),
  "metrics.jsonl": Kind("metrics.jsonl", _write_metrics, _read_metrics, drops=True),
  "confusion.npz": _arrays("confusion.npz", confusion.read),
  "prototypes.npz": _arrays("prototypes.npz", prototypes.read),
  "examples.npz": Kind("examples.npz", _write_examples, examples.read, drops=True),
  "projection_start.npz": Kind(
    "projection_start.npz",
    _write_embeddings,
    lambda folder: embeddings.load(folder / "projection_start.npz"),
    drops=True,
  ),
  "pseudo-label maps": Kind(
    "labels/000000.png",
    _write_pseudo_labels,
    lambda folder: stored_labels._read_label(stored_labels.label_path(folder, 0)),
  ),
  "exported and imported weights": Kind(
    "student.safetensors",
    lambda folder: safetensors_file.write(folder / "student.safetensors", TENSORS, {"step": "3"}),
    _of_weights("student.safetensors"),
  ),
  "PyTorch weights": Kind(
    "w.pth",
    lambda folder: torch_files.save(folder / "w.pth", {"state_dict": TENSORS}),
    _of_weights("w.pth"),
  ),
}
PREPARED = (*test_state_files.SMALL, test_state_files.RECORDS, "sizes_train_image.json")
IN_RUN = (
  "config.json", "classes.json", "versions.json", "parameters.txt", "metrics.jsonl", "results.json",
  "confusion.npz", "examples.npz", "panels.png", "report.html",
)  # fmt: skip
NUMBERS = {
  "a bit flipped in a file of a run": FLIPS * len(KINDS),
  "a file of a run cut": CUTS * len(KINDS),
  "a file of a run deleted, or cut to half": 2 * len(IN_RUN),
  "a bit flipped in prepared data": FLIPS * len(PREPARED),
  "a file of prepared data cut": CUTS * len(PREPARED),
  "a file of prepared data deleted": len(PREPARED),
}


@pytest.fixture(scope="module")
def counts():
  """How each fault ended; the page gets the rows of the kinds that were drilled completely."""
  counts = drill_table.Counts()
  yield counts
  counts.write("files", NUMBERS)


def plain(value: Any) -> Any:
  """Something that can be compared: arrays as lists with their types."""
  if isinstance(value, dict):
    return {key: plain(item) for key, item in value.items()}
  if isinstance(value, np.ndarray):
    return [str(value.dtype), value.tolist()]
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  return value if isinstance(value, str | int | float | bool | None) else str(value)


def is_part(part: Any, whole: Any) -> bool:
  """Whether all that is in `part` is in `whole`, too."""
  if isinstance(part, dict):
    return all(key in whole and part[key] == whole[key] for key in part)
  return all(item in whole for item in part)


def end_of(read: Callable[[], Any], expected: Any, name: str, drops: bool = False) -> str:
  """How reading ended; "SILENT: …" is what must not be."""
  out = io.StringIO()
  try:
    with contextlib.redirect_stdout(out):
      result = plain(read())
  except ValueError as error:
    check_sentence(str(error))
    return damage.SENTENCE if name in str(error) else f"SILENT: no name in {error}"
  if result == expected:
    return damage.SAME
  is_said = name in out.getvalue() and "is damaged" in out.getvalue()
  if drops and is_part(result, expected) and is_said:
    return damage.SENTENCE
  return f"SILENT: {result} instead of {expected}, {out.getvalue()!r}"


@pytest.mark.parametrize("name", KINDS)
def test_files_of_a_run_that_are_harmed(name, counts, tmp_path):
  kind, whole = KINDS[name], tmp_path / "whole"
  whole.mkdir()
  kind.write(whole)
  expected, ends = plain(kind.read(whole)), []
  for harm, number, title in (
    (damage.flip, FLIPS, "a bit flipped in"),
    (damage.truncate, CUTS, ""),
  ):
    for seed in range(number):
      folder = tmp_path / "harmed"
      shutil.copytree(whole, folder)
      harm(folder / kind.name, seed)
      end = end_of(
        lambda folder=folder: kind.read(folder), expected, pathlib.Path(kind.name).name, kind.drops
      )
      # The beginning of a line at the end of the file is what a kill leaves.
      if end.startswith("SILENT") and harm is damage.truncate and name == "metrics.jsonl":
        end = (
          damage.SENTENCE
          if _read_metrics(folder) == expected[: len(_read_metrics(folder))]
          else end
        )
      assert not end.startswith("SILENT"), f"{name}, {harm.__name__} {seed}: {end}"
      counts.add(f"{title} a file of a run" if title else "a file of a run cut", end)
      ends.append(end)
      shutil.rmtree(folder)
  assert damage.SENTENCE in ends, "the harms hit nothing"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  """The folder of sources and prepared data of `test_state_files`, and what is read of them."""
  folder = tmp_path_factory.mktemp("prepared")
  test_state_files._fields(folder / "raw")
  test_state_files.base.prepare(test_state_files._builder(folder))
  return folder, _contents(folder, folder)


def _contents(folder: pathlib.Path, sources: pathlib.Path) -> list:
  builder = test_state_files._builder(folder, sources / "raw")  # as a new process makes it
  content = test_state_files._contents(folder, builder)
  data = Examples(pathlib.Path(builder.data_path), "train", fields=("image",))
  return [*content, data.sizes("image")]


@pytest.mark.parametrize("name", PREPARED)
def test_prepared_data_that_are_harmed(name, prepared, counts, tmp_path):
  sources, expected = prepared
  expected, ends = plain(expected), []
  harms = [(damage.flip, seed) for seed in range(FLIPS)]
  harms += [(damage.truncate, seed) for seed in range(CUTS)] + [(damage.delete, 0)]
  titles = {
    damage.flip: "a bit flipped in prepared data",
    damage.truncate: "a file of prepared data cut",
    damage.delete: "a file of prepared data deleted",
  }
  for harm, seed in harms:
    folder = tmp_path / "harmed"
    place = test_state_files._copy(sources, folder)
    harm(place / name, seed)
    # The reader of records knows the split and the example, not the file.
    wanted = "of train" if name == test_state_files.RECORDS else name
    end = end_of(lambda folder=folder: _contents(folder, sources), expected, wanted)
    if end.startswith("SILENT: no name") and name == test_state_files.RECORDS:
      end = end_of(lambda folder=folder: _contents(folder, sources), expected, name)
    assert not end.startswith("SILENT"), f"{name}, {harm.__name__} {seed}: {end}"
    counts.add(titles[harm], end)
    ends.append(end)
    shutil.rmtree(folder)
  assert damage.SENTENCE in ends or name.startswith("sizes")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of drawn data, and that of a finished run."""
  folder = tmp_path_factory.mktemp("finished")
  command = faulty_disk.recipe(folder / "data", folder / "run")
  code, out = faulty_disk.run(command)
  assert code == 0, out
  return folder


@pytest.mark.parametrize("how", ("gone", "half"))
@pytest.mark.parametrize("name", IN_RUN)
def test_a_finished_run_without_one_of_its_files(name, how, finished, counts, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(finished / "run", run)
  expected = faulty_disk.content_of(run)
  content = (run / name).read_bytes()
  (run / name).write_bytes(content[: len(content) // 2])
  if how == "gone":
    (run / name).unlink()
  command = faulty_disk.recipe(finished / "data", run)
  code, out = faulty_disk.run(command)
  assert "Traceback" not in out
  if code:
    (error,) = (line for line in out.splitlines() if line.startswith("error: "))
    check_sentence(error)
    assert re.match(rf"error: {re.escape(str(run / name))} is damaged .*: it .*remove it", error)
    (run / name).unlink()  # as it says
    code, again = faulty_disk.run(command)
    assert code == 0, again
  is_said = f"{run / name} is damaged" in out
  assert faulty_disk.content_of(run) == expected
  counts.add("a file of a run deleted, or cut to half", damage.SENTENCE if is_said else damage.SAME)
