"""No kernel builds all pairs: temporaries of the compiled value and gradient at published sizes."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jax_uda import losses, memory
from jax_uda.memory import cam_prototypes, class_statistics

FLOAT, INT, BOOL = jnp.float32, jnp.int32, jnp.bool_


def spec(shape, dtype=FLOAT):
  return jax.ShapeDtypeStruct(shape, dtype)


def state_spec(create):
  return jax.eval_shape(create)


def gradient(loss, trained: int = 1):
  return jax.value_and_grad(loss, tuple(range(trained)))


# name: (function, arguments, limit in MB)
SEPICO, CLUDA = (2, 160, 160), (2, 65, 65)
PROGRAMS = {
  "class_statistics": (
    class_statistics.update,
    (
      state_spec(functools.partial(memory.empty_class_statistics, 19, 512)),
      spec((*SEPICO, 512)),
      spec(SEPICO, INT),
    ),
    250,
  ),
  "bank_cross_entropy": (
    gradient(functools.partial(losses.bank_cross_entropy, temperature=100.0)),
    (spec((*SEPICO, 512)), spec(SEPICO, INT), spec((19, 200, 512)), spec((19,), INT)),
    400,
  ),
  "distribution_cross_entropy": (
    gradient(functools.partial(losses.distribution_cross_entropy, temperature=100.0)),
    (spec((*SEPICO, 512)), spec(SEPICO, INT), spec((19, 512)), spec((19, 512))),
    250,
  ),
  "multires_pixel_contrast": (
    gradient(lambda *maps: losses.multires_pixel_contrast(losses.FusedGrid(*maps)), 3),
    (spec((*CLUDA, 256)), spec((*CLUDA, 256)), spec(CLUDA), spec(CLUDA, INT), spec(CLUDA, BOOL)),
    350,
  ),
  "info_nce": (
    gradient(lambda x, y: losses.info_nce(x, y, x, y, temperature=0.1, exclude_diagonal=True)),
    (spec((*CLUDA, 256)), spec(CLUDA, INT)),
    350,
  ),
  "region_contrast": (
    gradient(losses.region_contrast),
    (
      spec((*CLUDA, 128)),
      spec((*CLUDA, 128)),
      spec(CLUDA, INT),
      spec((24_000, 128)),
      spec((24_000,), INT),
    ),
    500,
  ),
  "cam_prototypes": (
    cam_prototypes.update,
    (
      state_spec(functools.partial(memory.empty_cam_prototypes, 19, 512)),
      spec((2, 64, 64, 512)),
      spec((2, 64, 64, 19)),
      spec((2, 512, 512), INT),
    ),
    300,
  ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_temporaries_stay_below_the_limit(name):
  function, arguments, limit = PROGRAMS[name]
  compiled = jax.jit(function).lower(*arguments).compile()
  assert compiled.memory_analysis().temp_size_in_bytes <= limit * 1e6
