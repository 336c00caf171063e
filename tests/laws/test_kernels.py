"""The laws of every loss kernel, checked once for all of them."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import kernels_by_class, kernels_by_pair, kernels_of_predictions
from laws.kernels import Kernel
from laws.placing import close, on_eight_devices, reorder

from jax_uda import losses

MODULES = (kernels_by_class, kernels_by_pair, kernels_of_predictions)
ALL = [kernel for module in MODULES for kernel in module.KERNELS]
KERNELS = [pytest.param(kernel, id=kernel.name) for kernel in ALL]


@pytest.mark.fast
def test_every_exported_kernel_is_checked():
  exported = {
    name
    for name, function in inspect.getmembers(losses, inspect.isfunction)
    if function.__module__.startswith("jax_uda.losses")
  }
  assert exported == {kernel.of for kernel in ALL}


@functools.cache
def value_and_grads(kernel: Kernel):
  """Jitted `inputs -> (value, gradients of trains and constants by name)`; compiled once a shape."""

  def run(inputs):
    floats = {name: inputs[name] for name in (*kernel.trains, *kernel.constants)}
    return jax.value_and_grad(lambda some: kernel.loss(**{**inputs, **some}))(floats)

  return jax.jit(run)


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
def test_the_mean_is_formed_from_the_losses_without_reduction(kernel: Kernel):
  if kernel.mean_of is None:
    pytest.skip("it has no single losses")
  value, grads = value_and_grads(kernel)(dict(kernel.inputs))

  def mean(trained):
    inputs = {**kernel.inputs, **trained}
    values = kernel.loss(**inputs, reduction="none")
    return kernel.mean_of(values, inputs), values

  trained = {name: kernel.inputs[name] for name in kernel.trains}
  (other, values), other_grads = jax.jit(jax.value_and_grad(mean, has_aux=True))(trained)
  assert values.shape != () and values.dtype == jnp.float32
  close(other, value)
  for name in kernel.trains:
    close(other_grads[name], grads[name])


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_of_a_pixel_that_is_left_out_is_zero(kernel: Kernel):
  if kernel.mean_of is None or kernel.empty is None:
    pytest.skip("it has no single losses, or all of them always count")
  inputs = {**kernel.inputs, **kernel.empty}
  run = lambda trained: kernel.loss(**{**inputs, **trained}, reduction="none")
  trained = {name: kernel.inputs[name] for name in kernel.trains}
  values, pullback = jax.vjp(jax.jit(run), trained)
  assert not values.any()
  (grads,) = pullback(jnp.ones_like(values))
  assert not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize("kernel", KERNELS)
def test_rounding_noise_has_no_direction_and_no_gradient(kernel: Kernel):
  if not kernel.noise:
    pytest.skip("it normalises nothing")
  eps = jnp.finfo(jnp.float32).eps
  for name in kernel.noise:
    array = kernel.inputs[name]
    value, grads = value_and_grads(kernel)({**kernel.inputs, name: array.at[0].multiply(eps)})
    zero, zero_grads = value_and_grads(kernel)({**kernel.inputs, name: array.at[0].set(0.0)})
    close(value, zero)
    assert not grads[name][0].any() and grads[name].any()
    jax.tree.map(close, grads, zero_grads)


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


@pytest.mark.fast
@pytest.mark.parametrize("kernel", KERNELS)
def test_mistakes_are_errors_that_name_the_argument(kernel: Kernel):
  for replaced, message in kernel.bad:
    with pytest.raises(ValueError, match=message):
      kernel.loss(**{**kernel.inputs, **replaced})
