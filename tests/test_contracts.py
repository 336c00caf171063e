"""What every kernel and state update promises, checked once for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import cluda, confeti, generic, rccr, sepico, spcl
from contracts.kernel import Kernel, Update
from jax.sharding import AxisType, NamedSharding, PartitionSpec

MODULES = (generic, sepico, spcl, cluda, rccr, confeti)
KERNELS = [pytest.param(kernel, id=kernel.name) for module in MODULES for kernel in module.KERNELS]
UPDATES = [pytest.param(update, id=update.name) for module in MODULES for update in module.UPDATES]
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


@functools.cache
def value_and_grads(kernel: Kernel):
  """Jitted `inputs -> (value, gradients of trains and constants by name)`; compiled once a shape."""

  def run(inputs):
    floats = {name: inputs[name] for name in (*kernel.trains, *kernel.constants)}
    return jax.value_and_grad(lambda some: kernel.loss(**{**inputs, **some}))(floats)

  return jax.jit(run)


def reorder(inputs, names, order):
  return {**inputs, **{name: inputs[name][order] for name in names}}


def on_eight_devices(inputs, names):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  place = lambda name, x: jax.device_put(
    x, NamedSharding(mesh, PartitionSpec("data") if name in names else PartitionSpec())
  )
  return {name: jax.tree.map(functools.partial(place, name), x) for name, x in inputs.items()}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_gives_a_finite_float32_scalar_and_no_gradient_to_constants(kernel: Kernel):
  value, grads = value_and_grads(kernel)(dict(kernel.inputs))
  assert value.shape == () and value.dtype == jnp.float32 and jnp.isfinite(value)
  for name in kernel.trains:
    assert jnp.isfinite(grads[name]).all() and grads[name].any(), name
  for name in kernel.constants:
    assert not grads[name].any(), name
  close(kernel.loss(**kernel.inputs), value)


@pytest.mark.parametrize("kernel", KERNELS)
def test_zero_vectors_give_finite_values_and_gradients(kernel: Kernel):
  first = {name: kernel.inputs[name].at[0].set(0.0) for name in kernel.trains}
  every = {name: jnp.zeros_like(kernel.inputs[name]) for name in kernel.trains}
  for zeros in (first, every):
    value, grads = value_and_grads(kernel)({**kernel.inputs, **zeros})
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(grad).all() for grad in grads.values())


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_valid_is_exactly_zero(kernel: Kernel):
  if kernel.empty is None:
    pytest.skip("all of its inputs are always valid")
  value, grads = value_and_grads(kernel)({**kernel.inputs, **kernel.empty})
  assert value == 0
  assert not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_ignored_pixel_changes_nothing(kernel: Kernel):
  if kernel.ignored is None:
    pytest.skip("it has no pixels to ignore")
  inputs = {**kernel.inputs, **kernel.ignored}
  value, grads = value_and_grads(kernel)(inputs)
  changed = {name: inputs[name].at[0].set(3.7) for name in kernel.trains}
  other_value, other_grads = value_and_grads(kernel)({**inputs, **changed})
  close(other_value, value)
  for name in kernel.trains:
    assert not grads[name][0].any()
    close(other_grads[name][1:], grads[name][1:])


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_order_of_pixels_does_not_matter(kernel: Kernel):
  if not kernel.pixels:
    pytest.skip("it has no pixel axis")
  count = len(kernel.inputs[kernel.pixels[0]])
  order = np.random.default_rng(0).permutation(count)
  value, grads = value_and_grads(kernel)(dict(kernel.inputs))
  other_value, other_grads = value_and_grads(kernel)(
    reorder(kernel.inputs, kernel.pixels, jnp.asarray(order))
  )
  close(other_value, value)
  for name in kernel.trains:
    expected = grads[name][order] if name in kernel.pixels else grads[name]
    close(other_grads[name], expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_more_leading_axis_changes_nothing(kernel: Kernel):
  if not kernel.pixels:
    pytest.skip("it has no pixel axis")
  value = kernel.loss(**kernel.inputs)
  inputs = {**kernel.inputs, **{name: kernel.inputs[name][None] for name in kernel.pixels}}
  close(kernel.loss(**inputs), value)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_inputs_are_computed_in_float32(kernel: Kernel):
  low = {name: kernel.inputs[name].astype(jnp.bfloat16) for name in kernel.trains}
  same = {name: x.astype(jnp.float32) for name, x in low.items()}
  value = kernel.loss(**{**kernel.inputs, **low})
  assert value.dtype == jnp.float32
  close(value, kernel.loss(**{**kernel.inputs, **same}))


@pytest.mark.parametrize("kernel", KERNELS)
def test_vmap_is_a_loop(kernel: Kernel):
  second = {name: 0.5 * kernel.inputs[name][::-1] for name in kernel.trains}
  pair = [dict(kernel.inputs), {**kernel.inputs, **second}]
  batched = {name: jnp.stack([p[name] for p in pair]) for name in kernel.trains}
  one = lambda some: kernel.loss(**{**kernel.inputs, **some})
  close(jax.vmap(one)(batched), jnp.stack([kernel.loss(**p) for p in pair]))


@pytest.mark.parametrize("kernel", KERNELS)
def test_eight_devices_equal_one(kernel: Kernel):
  if not kernel.pixels:
    pytest.skip("it has no pixel axis")
  one = value_and_grads(kernel)(dict(kernel.inputs))
  eight = value_and_grads(kernel)(on_eight_devices(kernel.inputs, kernel.pixels))
  jax.tree.map(close, eight, one)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mistakes_are_errors_that_name_the_argument(kernel: Kernel):
  for replaced, message in kernel.bad:
    with pytest.raises(ValueError, match=message):
      kernel.loss(**{**kernel.inputs, **replaced})


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_keeps_the_states_shapes_and_types(update: Update):
  new = jax.jit(update.update)(update.state, **update.inputs)
  spec = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert spec(new) == spec(update.state)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
  assert any(
    (a != b).any() for a, b in zip(*map(jax.tree.leaves, (new, update.state)), strict=True)
  )


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_with_nothing_valid_changes_nothing(update: Update):
  if update.empty is None:
    pytest.skip("all of its inputs are always valid")
  new = update.update(update.state, **{**update.inputs, **update.empty})
  jax.tree.map(np.testing.assert_array_equal, new, update.state)


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_is_the_same_in_any_order_behind_any_axis_and_on_eight_devices(update: Update):
  if not update.pixels:
    pytest.skip("it has no pixel axis")
  run = jax.jit(update.update)
  expected = run(update.state, **update.inputs)
  count = len(update.inputs[update.pixels[0]])
  order = jnp.asarray(np.random.default_rng(0).permutation(count))
  jax.tree.map(close, run(update.state, **reorder(update.inputs, update.pixels, order)), expected)
  leading = {**update.inputs, **{name: update.inputs[name][None] for name in update.pixels}}
  jax.tree.map(close, run(update.state, **leading), expected)
  split = on_eight_devices({"state": update.state, **update.inputs}, update.pixels)
  jax.tree.map(close, run(split.pop("state"), **split), expected)


@pytest.mark.parametrize("update", UPDATES)
def test_a_state_receives_no_gradient(update: Update):
  floats = {k: v for k, v in update.inputs.items() if jnp.issubdtype(v.dtype, jnp.floating)}

  def total(some):
    new = update.update(update.state, **{**update.inputs, **some})
    return sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(new))

  assert not any(grad.any() for grad in jax.grad(total)(floats).values())


@pytest.mark.parametrize("update", UPDATES)
def test_mistakes_in_an_update_are_errors_that_name_the_argument(update: Update):
  for replaced, message in update.bad:
    with pytest.raises(ValueError, match=message):
      update.update(update.state, **{**update.inputs, **replaced})
