"""Checks a weight file against a network and writes that network alone, without pickles."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.models import catalog, weights
from jax_uda.models.weights import known

ATTENTION = "decode_head.scale_attention.conv_seg.bias"
SIDE = 128  # pixels of the image with which a network is traced; HRDA needs more than 64


def convert(
  path: str | pathlib.Path,
  folder: str | pathlib.Path,
  *,
  encoder: str,
  decoder: str = "",
  num_classes: int = 19,
  network: str = "student",
  describe: Callable[[Mapping[str, Any] | None], Mapping[str, str]] = lambda hrda: {},
) -> tuple[pathlib.Path, weights.Loaded]:
  """Writes one network of a weight file as `folder`/<encoder>[_<decoder>].safetensors.

  Args:
    path: A file that `weights.read` understands. If it has HRDA's scale attention, the network is an
      HRDA around encoder and decoder.
    folder: The folder to write to; created if missing.
    encoder: A key of `catalog.ENCODERS`, or "module:name".
    decoder: A key of `catalog.DECODERS`, or "module:name"; empty if the file has an encoder alone.
    num_classes: Number of classes of the decoder.
    network: Which network to read from a file of a whole training run: "student" or "teacher".
    describe: From the settings of the file's HRDA, or None, to further texts for the file.

  Returns:
    The file that was written, and the record of what was read.

  Raises:
    SettingError: A name is unknown; its path is the argument.
    ValueError: The file does not fit the network. The message lists the tensors that do not.
  """
  try:
    file = weights.read(path, finite=False)  # what is loaded of it is checked below
  except ValueError as error:
    raise ValueError(known.with_alternatives(str(error), encoder)) from None
  hrda = _hrda(file, network)
  variables = shapes_of(encoder, decoder, num_classes, hrda)
  filled, loaded = weights.load(variables, path, network=network)
  if other := [name for name in loaded.left_out if name.startswith("decode_head.")]:
    raise SettingError(
      "num_classes", f"= {num_classes} is not that of {loaded.path}: {', '.join(other[:4])} differ."
    )
  if loaded.untouched:
    raise ValueError(f"{loaded.path} holds no {' and no '.join(loaded.untouched)}")
  folder = pathlib.Path(folder).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  written = folder / f"{encoder}{f'_{decoder}' if decoder else ''}.safetensors"
  licence = loaded.with_licence_of(encoder).licence
  texts = {"source": pathlib.Path(path).name, "sha256": loaded.sha256, "licence": licence}
  texts |= describe(hrda)
  weights.save(filled, written, {name: text for name, text in texts.items() if text})
  return written, loaded


def _hrda(file: weights.WeightFile, network: str) -> Mapping[str, Any] | None:
  """Returns the settings of the file's HRDA that show in shapes, or None if it has no HRDA."""
  try:
    attention = weights.to_reference(file.tensors, network).get(ATTENTION)
  except SettingError:
    raise
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None
  if attention is None:
    return None
  return {"crop_size": (SIDE // 2, SIDE // 2), "class_attention": len(attention) > 1}


def shapes_of(
  encoder: str,
  decoder: str = "",
  num_classes: int = 19,
  hrda: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Returns the variables of a network, or of an encoder alone, as `jax.ShapeDtypeStruct`s."""
  if decoder:
    module = catalog.build(encoder=encoder, decoder=decoder, num_classes=num_classes, hrda=hrda)
  else:
    module = registry.choose(catalog.ENCODERS, encoder, ("encoder",))()
  image = lambda: jnp.zeros((1, SIDE, SIDE, 3))
  init = lambda: module.init(jax.random.key(0), image(), train=False, use_running_average=True)
  shapes = dict(jax.eval_shape(init))
  return shapes if decoder else {kind: {"encoder": tree} for kind, tree in shapes.items()}
