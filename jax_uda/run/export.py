"""Writes a trained network for use without this package: as a program of JAX, or as weights."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from jax_uda.common import files
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.models import weights
from jax_uda.models.layers.lora import LoRA
from jax_uda.ops.resize import Size
from jax_uda.run import model_text
from jax_uda.run.classes_file import Classes
from jax_uda.run.model_text import ModelText
from jax_uda.run.trained_model import TrainedModel

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
PROGRAM, ABOUT, LOADER = "model.stablehlo", "model.json", "exported_model.py"
_LOADER_TEXT = '''\
"""Predicts with the network in this folder. It needs JAX alone: pip install jax flatbuffers."""
import json, pathlib
import jax.export

FOLDER = pathlib.Path(__file__).parent
ABOUT = json.loads((FOLDER / "model.json").read_text())  # classes, colors, image_size
PROGRAM = jax.export.deserialize(bytearray((FOLDER / "model.stablehlo").read_bytes()))

def predict(images):  # uint8 RGB [B,H,W,3] of image_size -> uint8 class numbers, float32 confidences [B,H,W]
  return PROGRAM.call(images)
'''


def write_program(
  model: TrainedModel,
  folder: pathlib.Path,
  *,
  platforms: Sequence[str] = ("cpu", "cuda"),
  image_size: Size | None = None,
) -> pathlib.Path:
  """Writes the network as StableHLO, with its weights, for batches of any number of images of one size.

  The program sees an image once, whole. Its inputs are images uint8 RGB [B,H,W,3], its outputs class numbers
  uint8 [B,H,W] and confidences float32 [B,H,W].

  Args:
    model: The network.
    folder: The folder to write to, which is made: `model.stablehlo`, `model.json` with classes, colors and
      size, and `exported_model.py`, which loads them with JAX alone.
    platforms: What the program is for, of `PLATFORMS`; none of them need be here.
    image_size: (height, width); None: that of the images on which the run was scored.

  Returns:
    The file of the program.

  Raises:
    SettingError: A platform is unknown, or no size is known.
    ValueError: The package that `jax.export` needs is missing.
  """
  for name in platforms or ("",):
    if name not in PLATFORMS:
      raise SettingError("platforms", f"= {name!r} is unknown. Known: {', '.join(PLATFORMS)}.")
  size = image_size or (model.image_sizes[0] if model.image_sizes else None)
  if size is None:
    raise SettingError("image_size", "is missing, e.g. 512,1024: the file does not say a size.")
  _check_library()
  shape = jax.export.symbolic_shape(f"b, {size[0]}, {size[1]}, 3")
  run = jax.jit(lambda images: tuple(model.one_pass(images)))
  exported = jax.export.export(run, platforms=list(platforms))(
    jax.ShapeDtypeStruct(shape, jnp.uint8)
  )
  folder.mkdir(parents=True, exist_ok=True)
  files.write_bytes_atomically(folder / PROGRAM, bytes(exported.serialize()))
  files.write_atomically(folder / ABOUT, json.dumps(_about(model, size, platforms), indent=2))
  files.write_atomically(folder / LOADER, _LOADER_TEXT)
  ignored = [
    name
    for name, is_used in (
      ("windows", model.inference.window),
      ("flip", model.inference.flip),
      ("scales", model.inference.scales != (1.0,)),
    )
    if is_used
  ]
  if ignored:
    say(f"note: the program sees an image once; config.eval asks for {' and '.join(ignored)}, too")
  say(f"a program for {', '.join(platforms)} and images of {size[0]}x{size[1]}: {folder / PROGRAM}")
  return folder / PROGRAM


def _check_library() -> None:
  try:
    import flatbuffers  # noqa: F401
  except ImportError:
    raise ValueError(
      'jax.export needs flatbuffers: pip install flatbuffers, or this package with "[export]".'
    ) from None


def _about(model: TrainedModel, size: Size, platforms: Sequence[str]) -> dict[str, Any]:
  return {
    "classes": list(model.classes.names),
    "palette": model.classes.palette.tolist(),
    "image_size": list(size),
    "network": model.network,
    "step": model.step,
    "checkpoint": model.checkpoint,
    "platforms": list(platforms),
    "jax": jax.__version__,
  }


def write_weights(
  model: TrainedModel, folder: pathlib.Path, texts: dict[str, str] | None = None
) -> pathlib.Path:
  """Writes encoder and decoder with the names of the reference implementations; `load` reads the file.

  Args:
    model: The network.
    folder: The folder to write to; `<network>.safetensors` appears in it.
    texts: Further texts for the file, e.g. the licence of the weights behind it.
  """
  settings, variables = dict(model.settings), model.variables
  adapter = getattr(getattr(model.model, "encoder", None), "adapter", None)
  if isinstance(adapter, LoRA):  # merged into the weights that it adapts
    variables = {**variables, "params": adapter.merge(jax.device_get(variables["params"]))}
    settings.pop("adapter")
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{model.network}.safetensors"
  text = {model_text.KEY: text_of(model, settings).to_text()}
  weights.save(variables, path, (texts or {}) | text)
  say(f"{model.network} after {model.step} steps: {path}")
  return path


def text_of(model: TrainedModel, settings: dict[str, Any]) -> ModelText:
  """What a weight file says of the network.

  Args:
    model: The network.
    settings: The config group `model`.
  """
  fields = dataclasses.asdict(model.inference)
  evaluation = {name: () if value is None else value for name, value in fields.items()}
  size = model.image_sizes[0] if model.image_sizes else None
  return ModelText(
    model=settings,
    evaluation=evaluation | {"batch_size": model.batch_size},
    classes=Classes(model.classes, model.image_bound, size, model.reading),
    compute_dtype=model.compute_dtype,
    step=model.step,
    network=model.network,
    checkpoint=model.checkpoint,
  )
