"""The commands: `jax-uda NAME …`, or `main.py --mode=NAME …` for those that have a mode.

A command says what its words without dashes are and which flags belong to it; what it does is in `actions`.
"""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

# Flags of every command, and of those that work with a recipe or a run.
EVERYWHERE = ("compilation_cache", "traceback")
RUN = (
  "config",
  "workdir",
  "repair",
  "distributed",
  "distributed_timeout",
  "print_config",
)
PREDICT = (
  *("images", "image_suffix", "out", "overlay", "confidence", "network"),
  *("stage", "checkpoint", "ids", "server"),
)


class Command(NamedTuple):
  """One command.

  Attributes:
    summary: What it does.
    words: What the words behind its name are, as the help shows it.
    flags: The flags that belong to it, beside those of all commands.
    examples: Command lines without "jax-uda".
    takes: What the first word is: "recipe", "run" (its folder), "either", "data", "file" or "text".
    mode: The value of --mode that does the same; empty if there is none.
  """

  summary: str
  words: str
  flags: tuple[str, ...]
  examples: tuple[str, ...]
  takes: str
  mode: str = ""


COMMANDS: dict[str, Command] = {
  "train": Command(
    "run a recipe, or continue a run",
    "RECIPE | RUN",
    RUN,
    ("train demo", "train demo:method=sepico --workdir=runs/sepico", "train runs/demo"),
    "either",
    "train",
  ),
  "eval": Command(
    "evaluate the newest checkpoint of a run again",
    "RUN | RECIPE",
    RUN,
    ("eval runs/demo", "eval runs/demo --config.eval.flip=true"),
    "either",
    "eval",
  ),
  "predict": Command(
    "write a PNG of class ids for each image of --images; with --server, as the server of a test set wants "
    "them; needs no training data",
    "MODEL [IMAGE …]",
    (*RUN, *PREDICT),
    (
      "predict runs/demo --images=photos --out=out --overlay",
      "predict runs/demo clip.mp4 --overlay --confidence",
      "predict student.safetensors a.jpg b.jpg",
    ),
    "run",
    "predict",
  ),
  "check-data": Command(
    "read all files of config.data, report what is there and what is wrong, and draw samples with their "
    "labels into the workdir",
    "RECIPE | RUN",
    RUN,
    ("check-data gta_to_cityscapes/sepico:source=/data/gta5,target=/data/cityscapes",),
    "either",
    "check_data",
  ),
  "prepare": Command(
    "convert --dataset from --manual_dir, or the data sets that --config names outside its stages; an "
    "interrupted conversion continues",
    "DATASET | RECIPE",
    (*RUN, "dataset", "manual_dir", "size", "data_dir", "on_error"),
    ("prepare gta5 --manual_dir=/data/gta5", "prepare gta_to_cityscapes/dacs:source=/data/gta5"),
    "data",
    "prepare",
  ),
  "pseudo-label": Command(
    "label the target's training images with the newest checkpoint, into RUN/pseudo_labels",
    "RUN",
    RUN,
    ("pseudo-label runs/demo",),
    "either",
    "pseudo_label",
  ),
  "plan": Command(
    "compile the steps of a recipe from shapes alone, for this machine's devices or for --topology, and say "
    "what they need: memory, operations, exchanges, a bound of their time; needs no data, and a workdir only "
    "to write plan.json",
    "RECIPE | RUN",
    (*RUN, "topology"),
    ("plan demo:method=sepico --topology=v5e:2x2",),
    "either",
    "plan",
  ),
  "benchmark": Command(
    "train methods x seeds on one task: one table, one plot; the same command again continues",
    "RECIPE",
    (*RUN, "methods", "seeds"),
    ("benchmark demo --methods=source_only,dacs --seeds=0,1,2 --workdir=runs/benchmark",),
    "recipe",
  ),
  "report": Command(
    "write RUN/report.html, finished or not: results, images, curves; with --watch again and again",
    "RUN",
    (*RUN, "watch"),
    ("report runs/demo", "report runs/demo --watch"),
    "either",
    "report",
  ),
  "doctor": Command(
    "say in one sentence each what this machine has: versions, devices, memory, disk, caches, data",
    "[RECIPE | RUN]",
    ("config", "data_dir"),
    ("doctor", "doctor gta_to_cityscapes/dacs:source=/data/gta5,target=/data/cityscapes"),
    "either",
  ),
  "list": Command(
    "show recipes, methods, components, losses, encoders, decoders, data sets, and every field of a config "
    "with type, default and meaning",
    "[KIND [WORD]]",
    (),
    ("list", "list recipes", "list fields eval", "list fields method.sepico"),
    "text",
  ),
  "export": Command(
    "write a trained network as a program that needs only JAX (StableHLO), or its student and teacher as "
    ".safetensors, with the names of the reference implementations",
    "MODEL",
    (*RUN, "out", "format", "platforms", "image_size", "network", "stage", "checkpoint"),
    (
      "export runs/demo --out=exported --platforms=cpu,cuda",
      "export runs/demo --format=safetensors",
    ),
    "run",
  ),
  "export-weights": Command(
    "write the student and teacher of the newest checkpoint as .safetensors, with the names of the reference "
    "implementations",
    "RUN",
    RUN,
    ("export-weights runs/demo",),
    "either",
    "export_weights",
  ),
  "import-weights": Command(
    "check a weight file against a network (--from, --encoder, …) and write it to --out as .safetensors; this "
    "needs no config and no workdir",
    "FILE",
    ("from", "encoder", "decoder", "num_classes", "classes", "image_size", "network", "out"),
    (
      "import-weights mit_b5.pth --encoder=mit_b5 --out=weights",
      "import-weights latest.pth --encoder=mit_b5 --decoder=daformer --image_size=512,1024 --out=weights",
      "predict weights/mit_b5_daformer.safetensors --images=photos --out=out",
    ),
    "file",
    "import_weights",
  ),
}
MODES = {command.mode: name for name, command in COMMANDS.items() if command.mode}

# Behind the sentence that a flag belongs to other commands: where a run has it.
ELSEWHERE = {
  **dict.fromkeys(
    ("dataset", "manual_dir", "size", "data_dir", "on_error"), "a run has config.data"
  ),
  **dict.fromkeys(
    ("from", "encoder", "decoder", "num_classes", "classes"),
    "a run has config.init_weights and config.model",
  ),
  "network": "of config.init_weights, config.init_network says which",
}


def find(name: str) -> str:
  """The name of the command that a user typed, with - or _ between its words.

  Raises:
    ValueError: There is none; the message has the nearest ones.
  """
  dashed = name.replace("_", "-")
  if dashed in COMMANDS:
    return dashed
  near = difflib.get_close_matches(dashed, COMMANDS, n=1, cutoff=0.5)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  raise ValueError(
    f"unknown command {name!r}.{hint} Commands: {', '.join(COMMANDS)}; --help describes them"
  )


def belongs_to(flag: str, *, as_modes: bool) -> str:
  """Where a flag may stand, as a clause: "--size belongs to --mode=prepare"."""
  names = [name for name, command in COMMANDS.items() if flag in command.flags]
  if as_modes and any(COMMANDS[name].mode for name in names):
    shown: Iterable[str] = (f"--mode={COMMANDS[n].mode}" for n in names if COMMANDS[n].mode)
  else:
    shown = (f"`jax-uda {name}`" for name in names)
  elsewhere = f"; {ELSEWHERE[flag]}" if flag in ELSEWHERE else ""
  return f"--{flag} belongs to {' and '.join(shown)}{elsewhere}"
