"""The laws of every state update, checked once for all of them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.placing import close, on_eight_devices, reorder
from laws.updates import UPDATES as ALL
from laws.updates import Update

from jax_uda import memory

UPDATES = [pytest.param(update, id=update.name) for update in ALL]


@pytest.mark.fast
def test_every_update_is_checked():
  """An update is a public function that returns what its first argument is: a state."""
  updates = set()
  for name, module in inspect.getmembers(memory, inspect.ismodule):
    for function_name, function in inspect.getmembers(module, inspect.isfunction):
      signature = inspect.signature(function)
      first = next(iter(signature.parameters.values()), None)
      is_public = function.__module__ == module.__name__ and not function_name.startswith("_")
      if is_public and first is not None and first.annotation is signature.return_annotation:
        updates.add(f"{name}.{function_name}")
  assert updates == {name for update in ALL for name in update.of}


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


@pytest.mark.fast
@pytest.mark.parametrize("update", UPDATES)
def test_mistakes_in_an_update_are_errors_that_name_the_argument(update: Update):
  for replaced, message in update.bad:
    with pytest.raises(ValueError, match=message):
      update.update(update.state, **{**update.inputs, **replaced})
