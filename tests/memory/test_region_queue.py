import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.memory import region_queue

pytestmark = pytest.mark.fast


def test_it_keeps_the_newest_entries_oldest_first():
  queue = region_queue.empty_region_queue(3, 2, 1)
  entry = lambda t: (jnp.array([[t], [t + 0.5]], jnp.float32), jnp.array([t, 255]))
  for t in range(8):
    queue = region_queue.push(queue, *entry(t))
    rows = region_queue.rows(queue)
    kept = [float(v) for u in range(max(0, t - 2), t + 1) for v in (u, u + 0.5)]
    np.testing.assert_array_equal(rows.embeddings[: len(kept), 0], kept)
    np.testing.assert_array_equal(rows.labels[: len(kept) : 2], kept[::2])
    assert rows.valid.sum() == len(kept) and rows.valid[: len(kept)].all()
    assert (rows.labels[len(kept) :] == 255).all()
    assert queue.length == len(kept) // 2
