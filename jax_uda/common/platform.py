"""The kind of device that a program is traced for, by which layers choose how they compute."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jax.sharding import Mesh

_TRACED_FOR: contextvars.ContextVar[str] = contextvars.ContextVar("traced_for", default="")


def name() -> str:
  """The platform of the mesh that is traced for, else of JAX's default devices: "cpu", "gpu", "tpu"."""
  import jax  # not before it is asked for: recipes are read without JAX

  return _TRACED_FOR.get() or jax.default_backend()


def automatic_dtype(platform: str) -> str:
  """What `config.compute_dtype = "auto"` is on a platform."""
  return "float32" if platform == "cpu" else "bfloat16"


@contextlib.contextmanager
def traced_for(mesh: "Mesh") -> Iterator[None]:
  """Inside, `name` is the platform of these devices, which need not be there (`--mode=plan`)."""
  token = _TRACED_FOR.set(mesh.devices.flat[0].platform)
  try:
    yield
  finally:
    _TRACED_FOR.reset(token)
