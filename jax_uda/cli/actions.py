"""What each command does, once the flags are read."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

from jax_uda.cli import benchmark, command, commands, options
from jax_uda.cli.parsing import Call
from jax_uda.run import recipes, saved_config

Words = tuple[str, ...]  # those of a command line that no flag takes


def take_words(call: Call) -> Words:
  """Sets the flags that the first word of a command stands for; returns the words behind it.

  A recipe without --workdir is run in `runs/` below the current folder, under its own name.

  Raises:
    ValueError: A word and a flag say the same, or there are too many words.
  """
  takes, words = commands.COMMANDS[call.name].takes, call.words
  about = commands.COMMANDS[call.name]
  has_flag = command.RECIPE.value or command.WORKDIR.value
  is_needed = takes in ("either", "recipe", "run") and call.name != "doctor"
  if is_needed and not (words or has_flag or call.as_mode):
    raise ValueError(f"{about.words} is missing, e.g. jax-uda {about.examples[0]}")
  if takes in ("either", "recipe", "run", "data") and words:
    _take(call, takes, words[0])
    words = words[1:]
  if takes == "file" and words:
    _set(options.FROM, words[0])
    words = words[1:]
  if words and takes != "text" and call.name != "predict":
    raise ValueError(f"unknown argument {words[0]!r}; `jax-uda {call.name} --help` shows the form")
  return words


def _take(call: Call, takes: str, word: str) -> None:
  """Sets the flags that a recipe, a run or a data set stands for."""
  path = pathlib.Path(word).expanduser()
  is_folder = (path.is_dir() or word.endswith("/")) and word not in recipes.names()
  if takes == "either" and is_folder and not saved_config.is_run(path):
    raise ValueError(f"{word} holds no run, and there is no recipe of that name")
  if takes == "run" or (takes == "either" and saved_config.is_run(path)):
    _set(command.WORKDIR, word)
  elif takes == "data" and not path.exists() and word.partition(":")[0] in _data_sets():
    _set(options.DATASET, word)
  else:
    _set(command.RECIPE, word)
    is_needed = takes == "either" and call.name not in ("plan", "doctor")
    if is_needed and not command.WORKDIR.value and path.suffix != ".json":
      name = recipes.short_name(word.partition(":")[0])
      command.set_flag(command.WORKDIR, str(pathlib.Path("runs", name)))


def _set(flag: command.Flag, value: str) -> None:
  if command.is_present(flag):
    raise ValueError(
      f"{value!r} and --{flag.name}={flag.value} say the same: leave one of them out"
    )
  command.set_flag(flag, value)


def _data_sets() -> list[str]:
  from jax_uda.data.datasets import catalog

  return list(catalog.BUILDERS)


def _on_run(name: str) -> Callable[[Call, Words], None]:
  """A command that calls a function of `stages` with the config and the workdir."""

  def act(call: Call, words: Words) -> None:
    workdir = _workdir()
    config = command.config(call.overrides)
    command.set_up_jax()
    command.repair(config)
    from jax_uda.run import stages

    settings = {"watch": options.WATCH.value} if name == "report" else {}
    getattr(stages, name)(config, workdir, **settings)

  return act


def _workdir() -> pathlib.Path:
  """The workdir; a missing config is the first thing to say."""
  if not command.WORKDIR.value:
    command.recipe()
  return command.workdir()


def _plan(call: Call, words: Words) -> None:
  config = command.config(call.overrides)
  if options.TOPOLOGY.value:  # this machine compiles only; it may have no accelerator
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
  command.set_up_jax()
  from jax_uda.run.plan import recipe

  workdir = command.workdir() if command.WORKDIR.value else None
  title = command.RECIPE.value or command.WORKDIR.value or ""
  with command.naming_flags():
    recipe.write(config, title, topology=options.TOPOLOGY.value, workdir=workdir)


def _benchmark(call: Call, words: Words) -> None:
  benchmark.compare(call.overrides, options.METHODS, options.SEEDS)


def _prepare(call: Call, words: Words) -> None:
  skip, repair = options.ON_ERROR.value == "skip", command.REPAIR.value
  if command.RECIPE.value:
    for flag in (options.DATASET, options.MANUAL_DIR, options.SIZE, options.DATA_DIR):
      if command.is_present(flag):
        raise ValueError(
          f"--{flag.name} does not go with --config, which says what is prepared: config.data"
        )
    from jax_uda.run import prepare_data

    config = command.config(call.overrides)
    prepare_data.prepare_recipe(config.data, config.eval.targets, skip=skip, repair=repair)
    return
  dataset = command.require(options.DATASET, "gta5")
  manual_dir = command.require(options.MANUAL_DIR, "/data/gta5")
  from jax_uda.common import paths
  from jax_uda.run import prepare_data

  prepare_data.prepare(
    dataset,
    manual_dir,
    size=options.SIZE.value,
    data_dir=paths.as_path(options.DATA_DIR.value, "--data_dir"),
    skip=skip,
    repair=repair,
  )


def _import_weights(call: Call, words: Words) -> None:
  file = command.require(options.FROM, "mit_b5.pth")
  encoder = command.require(options.ENCODER, "mit_b5")
  folder = command.require(options.OUT, "weights")
  from jax_uda.models.weights import _convert as convert
  from jax_uda.run import imported_model

  decoder, num_classes = options.DECODER.value, options.NUM_CLASSES.value
  with command.naming_flags():
    texts = functools.partial(
      imported_model.texts,
      encoder=encoder,
      decoder=decoder,
      classes=imported_model.find_classes(options.CLASSES.value, num_classes),
      image_size=_image_size(),
      network=options.NETWORK.value,
    )
    written, loaded = convert.convert(
      file,
      folder,
      encoder=encoder,
      decoder=decoder,
      num_classes=num_classes,
      network=options.NETWORK.value,
      describe=texts,
    )
  print(f"{loaded}\nwritten to {written}; train with --config.init_weights={written}")
  if decoder:
    print(f"predict with: jax-uda predict {written} --images=… --out=…")


def _image_size() -> tuple[int, int] | None:
  """The value of --image_size; raises ValueError unless it is two numbers of pixels."""
  text = options.IMAGE_SIZE.value
  if not text:
    return None
  parts = [part.strip() for part in text.split(",")]
  if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
    raise ValueError(f"--image_size={text} must be HEIGHT,WIDTH in pixels, e.g. 512,1024")
  return int(parts[0]), int(parts[1])


def _export(call: Call, words: Words) -> None:
  size = _image_size()
  out = options.OUT.value
  if command.RECIPE.value:
    raise ValueError("--config does not go with export: the config is that of the run")
  weights_only = options.FORMAT.value == "safetensors"
  both = weights_only and not command.is_present(options.NETWORK)
  for network in ("student", "teacher") if both else (options.NETWORK.value,):
    model = _load(call, network)
    if both and model.network != network:
      continue  # a file has one network
    folder = pathlib.Path(out).expanduser() if out else pathlib.Path(model.folder or "", "exported")
    from jax_uda.run import export, record

    if weights_only:
      origin = record.origin_of_weights(model.folder) if model.folder else {}
      export.write_weights(model, folder, origin)
      continue
    with command.naming_flags():
      export.write_program(model, folder, platforms=options.PLATFORMS.value, image_size=size)


def _predict(call: Call, words: Words) -> None:
  images = [options.IMAGES.value] if options.IMAGES.value else []
  images += words
  if not images:
    command.require(options.IMAGES, "dark_zurich/rgb_anon/test/night")
  server, overlay, confidence = (
    flag.value for flag in (options.SERVER, options.OVERLAY, options.CONFIDENCE)
  )
  if server and command.is_present(options.IDS):
    raise ValueError(f"--server={server} says which ids are written; leave --ids out")
  if server and (overlay or confidence):
    raise ValueError(f"--server={server} takes ids alone; leave --overlay and --confidence out")
  request = dict(
    images=tuple(images),
    suffix=options.IMAGE_SUFFIX.value,
    ids=options.IDS.value,
    server=server or "",
    overlay=overlay,
    confidence=confidence,
  )
  if command.RECIPE.value:
    _predict_with_recipe(call, request)
  else:
    _predict_with_model(call, request)


def _predict_with_recipe(call: Call, request: dict[str, Any]) -> None:
  """Predicts with each trained stage of a recipe, whose data are at hand."""
  for flag in (options.STAGE, options.OUT, options.CHECKPOINT):
    if command.is_present(flag):
      raise ValueError(
        f"--{flag.name} does not go with --config: leave the config out, it is that of the run"
      )
  workdir, config = _workdir(), command.config(call.overrides)
  command.set_up_jax()
  command.repair(config)
  from jax_uda.run import stages

  stages.predict(config, workdir, network=options.NETWORK.value, **request)


def _predict_with_model(call: Call, request: dict[str, Any]) -> None:
  """Predicts with a trained network alone."""
  from jax_uda.run import predict

  asked = predict.Request(**request)
  asked.find()
  model = _load(call)
  out = options.OUT.value
  with command.naming_flags():
    predict.write_of_model(model, asked, out=pathlib.Path(out).expanduser() if out else None)


def _load(call: Call, network: str = "") -> Any:
  """The trained network that the workdir names, a folder or a file, on all devices.

  Args:
    call: The command line, whose changes of config.eval count.
    network: "student" or "teacher"; empty: as --network says.
  """
  changes = {}
  for field, text in call.overrides:
    group, _, name = field.partition(".")
    if group != "eval" or not name:
      raise ValueError(
        f"--config.{field}={text}: of a trained network only fields of config.eval can be changed"
      )
    changes[name] = text
  command.set_up_jax()
  from jax_uda.common import mesh
  from jax_uda.common.log import say
  from jax_uda.run import load_model

  chosen: Any = network or options.NETWORK.value
  checkpoint: Any = options.CHECKPOINT.value
  with command.naming_flags():
    model = load_model.load(
      command.require(command.WORKDIR, "runs/demo"),
      network=chosen,
      checkpoint=checkpoint,
      stage=options.STAGE.value,
      evaluation=changes,
      mesh=mesh.data_mesh(),
    )
  where = model.folder or command.WORKDIR.value
  say(
    f"{model.network} of {where}: {model.classes.name}, checkpoint {model.checkpoint}, step {model.step}"
  )
  return model


def _doctor(call: Call, words: Words) -> None:
  has_config = command.RECIPE.value or command.WORKDIR.value
  config = command.config(call.overrides) if has_config else None
  data_dir = config.data.dir if config else options.DATA_DIR.value
  from jax_uda.cli import doctor

  for sentence in doctor.report(command.CACHE.value or "", data_dir, config):
    command.show(sentence)


def _list(call: Call, words: Words) -> None:
  if len(words) > 2:
    raise ValueError(f"unknown argument {words[2]!r}; `jax-uda list --help` shows the form")
  from jax_uda.cli import listing

  command.show(listing.text(*words))


ACTIONS: dict[str, Callable[[Call, Words], None]] = {
  "train": _on_run("train"),
  "eval": _on_run("evaluate"),
  "predict": _predict,
  "check-data": _on_run("check_data"),
  "prepare": _prepare,
  "pseudo-label": _on_run("pseudo_label"),
  "plan": _plan,
  "benchmark": _benchmark,
  "report": _on_run("report"),
  "export": _export,
  "doctor": _doctor,
  "list": _list,
  "export-weights": _on_run("export_weights"),
  "import-weights": _import_weights,
}
