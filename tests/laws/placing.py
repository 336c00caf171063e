"""What the laws do with toy inputs: compare, reorder and place them."""

import functools

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def reorder(inputs, names, order):
  """The inputs with the rows of those named in another order."""
  return {**inputs, **{name: inputs[name][order] for name in names}}


def on_eight_devices(inputs, names):
  """The inputs on eight devices: those named are split along axis 0, the others are copied."""
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  place = lambda name, x: jax.device_put(
    x, NamedSharding(mesh, PartitionSpec("data") if name in names else PartitionSpec())
  )
  return {name: jax.tree.map(functools.partial(place, name), x) for name, x in inputs.items()}
