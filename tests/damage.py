"""A small checkpoint, what can happen to its files, and how reading it may end."""

import contextlib
import functools
import io
import os
import pathlib
import random
import shutil
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import checkpoint

SAME, PREVIOUS, SENTENCE = "same bits", "previous checkpoint, said", "one sentence"


@flax.struct.dataclass
class State:
  step: jax.Array
  weights: dict[str, jax.Array]
  scale: jax.Array
  key: jax.Array


@functools.cache
def state_of(step: int) -> State:
  """A state of many kinds of arrays; it depends on the step."""
  noise = jax.random.normal(jax.random.key(step), (40, 7))
  weights = {"kernel": noise, "half": noise[0].astype(jnp.bfloat16), "zeros": jnp.zeros(50)}
  state = State(jnp.int32(step), weights, jnp.float32(0.1 * step), jax.random.key(step))
  return jax.device_put(state, mesh_lib.replicated(mesh_lib.data_mesh(1)))


def numbers(state: State) -> list[np.ndarray]:
  """All arrays on the host; of the key, its numbers."""
  return jax.device_get([*jax.tree.leaves(state.replace(key=None)), jax.random.key_data(state.key)])


def make(folder: pathlib.Path) -> list[pathlib.Path]:
  """Saves steps 4 and 8 and returns the files of the newer one, relative to the folder."""
  with checkpoint.Checkpoints(folder) as checkpoints:
    checkpoints.save(state_of(4))
    checkpoints.save(state_of(8))
  return sorted(path.relative_to(folder) for path in (folder / "8").rglob("*") if path.is_file())


def flip(file: pathlib.Path, seed: int) -> None:
  """Turns one bit of a file."""
  content = bytearray(file.read_bytes())
  bit = random.Random(seed).randrange(8 * len(content))
  content[bit // 8] ^= 1 << bit % 8
  file.write_bytes(content)


def truncate(file: pathlib.Path, seed: int) -> None:
  """Cuts a file somewhere."""
  os.truncate(file, random.Random(seed).randrange(file.stat().st_size))


def delete(file: pathlib.Path, seed: int) -> None:
  """Deletes a file."""
  file.unlink()


def end_of(
  original: pathlib.Path,
  file: pathlib.Path,
  harm: Callable[[pathlib.Path, int], None],
  seed: int,
  *,
  keep: int | None,
) -> str:
  """How reading ends after a file of the checkpoint was harmed; "SILENT: …" is what must not be.

  Args:
    original: The folder of `make`, which is copied.
    file: The file, relative to it.
    harm: What happens to it.
    seed: For random positions.
    keep: As for `Checkpoints`; None reads only.
  """
  folder = original.with_name("harmed")
  shutil.rmtree(folder, ignore_errors=True)
  shutil.copytree(original, folder)
  harm(folder / file, seed)
  out = io.StringIO()
  try:
    with (
      contextlib.redirect_stdout(out),
      contextlib.redirect_stderr(out),
      checkpoint.Checkpoints(folder, keep) as checkpoints,
    ):
      state = checkpoints.restore(state_of(0))
  except checkpoint.CheckpointError as error:
    return SENTENCE if str(error).isprintable() else f"SILENT: raw characters, {error!r}"
  step, text = int(state.step), out.getvalue()
  is_right = step in (4, 8) and all(
    np.array_equal(a, b) for a, b in zip(numbers(state), numbers(state_of(step)), strict=True)
  )
  is_said = "checkpoint of step 8" in text and "is damaged" in text and "Traceback" not in text
  if is_right and step == 8 and not text:
    return SAME
  is_aside = any(path.name.startswith("damaged-8-") for path in folder.iterdir())
  if is_right and step == 4 and is_said and is_aside == (keep is not None):
    return PREVIOUS
  return f"SILENT: {harm.__name__} of {file}, seed {seed}: step {step}, {text!r}"
