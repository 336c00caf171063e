"""The commands: which flags they take, what their words mean, what help, list and doctor say."""

import re
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver
from robustness.table import check_sentence

from jax_uda.cli import actions, command, commands, doctor, help_text, listing, parsing

pytestmark = pytest.mark.fast


def read(line: str):
  """The call of a command line, its further words, and the flags that have a value."""
  with flagsaver.flagsaver():
    call = parsing.parse(["jax-uda", *line.split()])
    parsing.check_flags(call)
    words = actions.take_words(call)
    names = ("config", "workdir", "dataset", "images", "from")
    values = {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].value}
  return call, words, values


@pytest.mark.parametrize(
  ("line", "name", "words", "values"),
  [
    ("train demo", "train", (), {"config": "demo", "workdir": "runs/demo"}),
    ("train demo:seed=1 --workdir=x", "train", (), {"config": "demo:seed=1", "workdir": "x"}),
    (
      "train gta_to_cityscapes/dacs",
      "train",
      (),
      {"config": "gta_to_cityscapes/dacs", "workdir": "runs/gta_to_cityscapes_dacs"},
    ),
    ("eval RUN", "eval", (), {"workdir": "RUN"}),
    ("--mode=eval --workdir=x", "eval", (), {"workdir": "x"}),
    ("--config=demo --workdir=x", "train", (), {"config": "demo", "workdir": "x"}),
    ("predict RUN a.jpg b.jpg", "predict", ("a.jpg", "b.jpg"), {"workdir": "RUN"}),
    (
      "predict RUN --images a.jpg b.jpg --overlay c.jpg",
      "predict",
      ("b.jpg", "c.jpg"),
      {"workdir": "RUN", "images": "a.jpg"},
    ),
    ("check_data demo", "check-data", (), {"config": "demo", "workdir": "runs/demo"}),
    ("prepare gta5 --manual-dir=x", "prepare", (), {"dataset": "gta5"}),
    ("prepare demo", "prepare", (), {"config": "demo"}),
    ("plan demo", "plan", (), {"config": "demo"}),
    ("import-weights a.pth --encoder=mit_b0", "import-weights", (), {"from": "a.pth"}),
    ("list fields eval", "list", ("fields", "eval"), {}),
    ("doctor", "doctor", (), {}),
  ],
)
def test_a_command_line_means(line, name, words, values, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "RUN").mkdir()
  (tmp_path / "RUN" / "config.json").write_text("{}")
  call, others, found_values = read(line)
  assert (call.name, others, found_values) == (name, words, values)


@pytest.mark.parametrize(
  ("line", "sentence"),
  [
    ("trian demo", "unknown command 'trian'. Did you mean 'train'"),
    ("predicts x", "Did you mean 'predict'"),
    ("train", "RECIPE | RUN is missing, e.g. jax-uda train demo"),
    ("predict", r"MODEL \[IMAGE …\] is missing, e.g. jax-uda predict runs/demo"),
    ("train demo again", "unknown argument 'again'; `jax-uda train --help`"),
    ("train demo --config=demo", "'demo' and --config=demo say the same"),
    ("train demo --mode=eval", "--mode=eval: leave it out, the command is 'train'"),
    ("train demo --images=x", "--images belongs to `jax-uda predict`"),
    ("predict x --seeds=1", "--seeds belongs to `jax-uda benchmark`"),
    ("--mode=eval --size=1,2", "--size belongs to --mode=prepare; a run has config.data"),
    ("train demo --config.seed", "fields are set in the form --config.<field>=<value>"),
    ("train EMPTY", "EMPTY holds no run, and there is no recipe of that name"),
  ],
)
def test_a_mistake_is_a_sentence(line, sentence, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "EMPTY").mkdir()
  with pytest.raises(ValueError, match=sentence) as caught:
    read(line)
  check_sentence(str(caught.value))


def test_every_command_does_something_and_its_help_has_its_flags():
  assert actions.ACTIONS.keys() == commands.COMMANDS.keys()
  overview = help_text.overview()
  for name, about in commands.COMMANDS.items():
    text = help_text.of_command(name)
    assert f"\n  {name}" in overview
    for flag in about.flags:
      assert re.search(rf"^  --{flag}\b", text, re.MULTILINE), (name, flag)
    for example in about.examples:
      assert example.split()[0] in commands.COMMANDS
  assert max(map(len, overview.splitlines())) <= 120


def test_a_package_and_a_module_are_the_same_command():
  for words in (["-m", "jax_uda", "list", "--help"], ["main.py", "list", "--help"]):
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0 and run.stdout.startswith("jax-uda list [KIND [WORD]]"), run


def test_a_printed_config_is_a_config(tmp_path, capsys):
  from jax_uda.cli import main
  from jax_uda.run import recipes

  with flagsaver.flagsaver():
    main._main(parsing.parse(["x", "train", "demo", "--print_config", "--config.seed=3"]))
  (tmp_path / "my.json").write_text(capsys.readouterr().out)
  again = recipes.load(str(tmp_path / "my.json"), [("batch_size", "4")])
  assert (again.seed, again.batch_size) == (3, 4) and again.stages.warm_up.stop_step == 300


@pytest.mark.parametrize("kind", [kind for kind in listing.KINDS if kind != "fields"])
def test_lists_describe_every_name(kind):
  entries = listing.KINDS[kind]()
  assert entries and all(len(about) > 10 for about in entries.values()), entries
  assert next(iter(entries)) in listing.text() and next(iter(entries)) in listing.text(kind)


def test_fields_are_listed_by_words():
  assert "config.eval.flip: bool = False\n" in listing.text("fields", "eval")
  assert "config.method.start_step: int = 3000   [sepico]" in listing.text(
    "fields", "method.sepico"
  )
  for kind, word in (("fields", "nowhere"), ("recipes", "nowhere"), ("recipe", "")):
    with pytest.raises(ValueError) as caught:
      listing.text(kind, word)
    check_sentence(str(caught.value))


@pytest.mark.parametrize(
  ("file", "platforms", "sentence"),
  [
    ("/dev/nvidiactl", "", r"! There is a GPU \(NVIDIA\) H100, but this jaxlib is for CPUs only"),
    ("/dev/nvidiactl", "cpu", r"! .* JAX_PLATFORMS=cpu keeps JAX on the CPU: unset it"),
    ("/dev/accel0", "", r"! There is a TPU, but this jaxlib is for CPUs only: pip install"),
    ("/dev/null", "", None),
  ],
)
def test_an_accelerator_without_use_is_said(file, platforms, sentence):
  said = list(doctor.unused_accelerators(lambda path: path == file, platforms, lambda: "H100"))
  assert len(said) == (sentence is not None) and all(re.match(sentence or "", s) for s in said)


def test_the_doctor_speaks_in_sentences(tmp_path):
  (tmp_path / "prepared" / "streets" / "day" / "1.0.0").mkdir(parents=True)
  (tmp_path / "prepared" / "streets" / "day" / "1.0.0" / "dataset_info.json").write_text("{}")
  config = command.load_recipe("gta_to_cityscapes/dacs:target=/nowhere,weights=x.pth", [])
  config.data.unlock().source.path = str(tmp_path)
  said = list(doctor.report(str(tmp_path / "cache"), str(tmp_path / "prepared"), config))
  text = "\n".join(said)
  for sentence in (
    "JAX computes on ",
    "holds nothing yet;",
    "1 data sets are prepared there: streets/day.",
    f"config.data.source: {tmp_path} is there",
    "! config.data.target: there is no folder /nowhere.",
    "! config.init_weights: there is no file x.pth.",
  ):
    assert sentence in text, text
  for sentence in said:
    check_sentence(sentence)
