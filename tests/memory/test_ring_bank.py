import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import memory
from jax_uda.memory import ring_bank

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("zero_entry", [False, True])
def test_a_ring_is_a_queue(zero_entry):
  rng = np.random.default_rng(0)
  bank = memory.empty_ring_bank(3, 4, 2, zero_entry=zero_entry)
  queues = [collections.deque([np.zeros(2)] * zero_entry, maxlen=4) for _ in range(3)]
  push = jax.jit(ring_bank.push)
  for _ in range(11):
    entries, present = rng.normal(size=(3, 2)).astype(np.float32), rng.random(3) < 0.6
    bank = push(bank, jnp.asarray(entries), jnp.asarray(present))
    for queue, entry, is_present in zip(queues, entries, present, strict=True):
      if is_present:
        queue.append(entry)
    for c, queue in enumerate(queues):
      assert bank.length[c] == len(queue)
      ordered = ring_bank.oldest_first(bank)[c]
      np.testing.assert_array_equal(ordered[: len(queue)], np.array(queue).reshape(-1, 2))
      assert not ordered[len(queue) :].any()


def test_a_bank_without_room_is_an_error():
  with pytest.raises(ValueError, match="length = 0"):
    memory.empty_ring_bank(3, 0, 2)
