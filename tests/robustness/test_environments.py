"""Machines as they are: without a home, a locale, shared memory, many open files, or a place to write."""

import multiprocessing
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import pytest
import quick_scenes
from robustness.table import Case, check, parametrize

from jax_uda.cli import command
from jax_uda.common import paths
from jax_uda.data import streets
from jax_uda.data.datasets import base, bucket, catalog, drawing
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import load_model, stages
from jax_uda.run.report import writer

pytestmark = pytest.mark.fast
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def no_home(monkeypatch):
  """A user as `docker run --user 54321` makes one: no HOME, and no entry in /etc/passwd."""
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 54321)


HOMELESS = "= '~/.*needs a home folder.*without ~, or set the variable HOME"


@parametrize(
  Case("a path", lambda folder: paths.as_path("~/gta5", "path"), sentence="path " + HOMELESS),
  Case("a workdir", lambda folder: stages.train(None, "~/run"), sentence="workdir " + HOMELESS),
  Case("a trained model", lambda folder: load_model.load("~/run"), sentence=HOMELESS),
  Case(
    "the default folder of prepared data",
    lambda folder: catalog.load_domains({}, {}),
    sentence="data_dir " + HOMELESS,
  ),
  Case(
    "the local copy of a bucket",
    lambda folder: bucket.local_folder(paths.epath.Path("gs://bucket/prepared")),
    sentence="local copy of a bucket " + HOMELESS,
  ),
  Case("a path without ~", lambda folder: str(paths.as_path("/data", "path")), value="/data"),
)
def test_without_a_home_the_setting_is_named(case, tmp_path, no_home):
  check(case, tmp_path)


@pytest.mark.parametrize("cache", ("~/.cache/jax_uda/xla", "/proc/xla", "/dev/null/xla"))
def test_without_a_place_for_compiled_programs_a_run_goes_on_and_says_so(cache, no_home, capsys):
  assert command._writable(cache) is None
  said = capsys.readouterr().out
  assert "compiled programs are not kept" in said and "--compilation_cache=FOLDER" in said
  assert len(said.splitlines()) == 1


def test_a_place_for_compiled_programs_is_made(tmp_path):
  assert command._writable(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
  assert [*(tmp_path / "a" / "b").iterdir()] == []


def _fields(folder: pathlib.Path, number: int = 3) -> dict:
  for name, channels in (("images", 3), ("labels", 1)):
    (folder / name).mkdir(parents=True)
    for i in range(number):
      assert cv2.imwrite(str(folder / name / f"{i}.png"), np.ones((4, 6, channels), np.uint8))
  parts = ("images", "labels")
  return dict(name="folders", path=str(folder), train=parts, val=parts, classes=("a", "b"))


def test_prepared_data_that_cannot_be_written_name_the_field(tmp_path):
  (tmp_path / "file").touch()
  builder = catalog.find_builder(_fields(tmp_path / "raw"), tmp_path / "file" / "x", Role.SOURCE)
  with pytest.raises(OSError, match=r"cannot be written: .*config\.data\.dir \(--data_dir\)"):
    base.prepare(builder)


def test_few_files_may_be_open(tmp_path):
  spec = _fields(tmp_path / "raw", 100)
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 24, hard))
  try:
    place = base.prepare(catalog.find_builder(spec, tmp_path / "prepared", Role.SOURCE))
    examples = Examples(place, "train", fields=("image",))
    assert sum(example["image"].any() for example in examples) == 100
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_name_the_remedy():
  error = OSError(24, "Too many open files", "a.png")
  assert command.sentence_of(error).endswith("allow more open files, e.g. ulimit -n 4096")


def test_data_are_drawn_without_tmp(tmp_path, quick_streets, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
  spec = dict(name="streets", domain="day", size=(8, 12), num_train=3, num_val=2)
  place = base.prepare(catalog.find_builder(spec, tmp_path, Role.SOURCE))
  assert [file.name for file in place.parent.iterdir()] == [place.name]


class _NoSemaphores:
  def Lock(self):
    raise OSError(30, "Read-only file system")


def test_scenes_are_drawn_without_shared_memory(monkeypatch):
  monkeypatch.setattr(streets, "draw", quick_scenes.draw, raising=False)
  monkeypatch.setattr(drawing, "FEW_SCENES", 0)
  monkeypatch.setattr("os.cpu_count", lambda: 2)
  monkeypatch.setattr(multiprocessing, "get_context", lambda kind: _NoSemaphores())
  assert len(list(drawing.draw("day", 1, range(3), (8, 12)))) == 3


def test_metrics_are_written_without_shared_memory(tmp_path, monkeypatch, capsys):
  tensorboard = pytest.importorskip("tensorboardX")

  def refuse(*_, **__):
    raise OSError(30, "Read-only file system")

  monkeypatch.setattr(tensorboard, "SummaryWriter", refuse)
  with writer.MetricWriter(tmp_path) as metrics:
    metrics.write_scalars(1, {"loss": 2.0})
  assert (tmp_path / "metrics.jsonl").read_text().startswith('{"step": 1')
  assert "no TensorBoard files" in capsys.readouterr().out


def _main(*flags, cwd=ROOT, **environment):
  """The command line's answer to a mistake, which it finds before JAX is loaded."""
  return subprocess.run(
    [sys.executable, str(ROOT / "main.py"), *flags],
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": ""} | environment,
    capture_output=True,
    timeout=120,
  )


def test_a_terminal_without_utf8_shows_sentences(tmp_path):
  locale = dict(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
  run = _main("--mode=train", "--workdir=x", "--wörkdir\x1b[2J=…", cwd=tmp_path, **locale)
  assert run.returncode == 1
  assert run.stderr.startswith(b"error: ") and b"Traceback" not in run.stderr
  assert b"\x1b" not in run.stderr


@pytest.mark.parametrize(
  "error, text",
  (
    (KeyError("epoch"), "KeyError: 'epoch' (not foreseen; --traceback shows where it came from)"),
    (ValueError("a\x1b[2J\udcff"), "a\\x1b[2J\\xff"),
    (OSError("disk"), "disk"),
    (ValueError("Klasse „Straße“\nzwei"), "Klasse „Straße“\nzwei"),
  ),
)
def test_every_error_is_a_sentence_without_raw_characters(error, text):
  assert command.sentence_of(error) == text
