"""Weight files checked against a network by name and written anew, small and without pickles."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.models import catalog, weights

ATTENTION = "decode_head.scale_attention.conv_seg.bias"
SIDE = 128  # of the image that a network is traced with; HRDA needs more than 64


def convert(
  path: str | pathlib.Path,
  folder: str | pathlib.Path,
  *,
  encoder: str,
  decoder: str = "",
  num_classes: int = 19,
  network: str = "student",
) -> tuple[pathlib.Path, weights.Loaded]:
  """One network of a weight file as `folder`/<encoder>[_<decoder>].safetensors, reference names.

  Args:
    path: A file that `weights.read` understands. Where it has HRDA's scale attention, the network is an
      HRDA around encoder and decoder.
    folder: Made if missing.
    encoder: A key of `catalog.ENCODERS`.
    decoder: A key of `catalog.DECODERS`; empty: the file has an encoder alone.
    num_classes: Of the decoder.
    network: Of a file with a whole training run, "student" or "teacher".

  Returns:
    The file that was written, and what was read.

  Raises:
    ValueError: a name is unknown, or the file does not fit the network; lists what does not.
  """
  variables = shapes_of(encoder, decoder, num_classes, _hrda(weights.read(path), network))
  filled, loaded = weights.load(variables, path, network=network)
  if loaded.untouched:
    raise ValueError(f"{loaded.path} holds no {' and no '.join(loaded.untouched)}")
  folder = pathlib.Path(folder).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  written = folder / f"{encoder}{f'_{decoder}' if decoder else ''}.safetensors"
  weights.save(filled, written, {"source": pathlib.Path(path).name, "sha256": loaded.sha256})
  return written, loaded


def _hrda(file: weights.WeightFile, network: str) -> Mapping[str, Any] | None:
  """Settings of the HRDA in the file, as far as they show in shapes; None: there is none."""
  try:
    attention = weights.to_reference(file.tensors, network).get(ATTENTION)
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
  """The variables of a network, or of an encoder alone, as `jax.ShapeDtypeStruct`s."""
  if decoder:
    module = catalog.build(encoder=encoder, decoder=decoder, num_classes=num_classes, hrda=hrda)
  else:
    module = registry.lookup(catalog.ENCODERS, encoder, "model.encoder")()
  image = lambda: jnp.zeros((1, SIDE, SIDE, 3))
  init = lambda: module.init(jax.random.key(0), image(), train=False, use_running_average=True)
  shapes = dict(jax.eval_shape(init))
  return shapes if decoder else {kind: {"encoder": tree} for kind, tree in shapes.items()}
