"""A run on eight devices is the run on one."""

import functools

import golden_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Task

CLASSES, SIZE = 5, (32, 32)
TASK = Task(CLASSES, (0.4, 0.3, 0.2, 0.1, 0.0))


@functools.cache
def parts():
  """A small network, self-training with everything switched on, and its optimizer."""
  model = models.build(
    encoder="compact",
    decoder="light",
    num_classes=CLASSES,
    encoder_options={"widths": (8, 8, 16), "depths": (1, 1)},
  )
  method = methods.build(
    TASK,
    name="dacs",
    self_training=dict(pseudo_threshold=0.3, source_augmentation=True, class_weight_power=0.3),
    feature_distance_weight=0.01,
    thing_classes=(1, 2),
  )
  # Not AdamW, which makes the rounding errors of tiny gradients as large as gradients.
  tx = optimizer.build(lambda step: 1e-2, name="sgd", weight_decay=0.01)
  return model, method, tx


def batch_of(step: int):
  """Eight source and eight target images; blocks of colour with their labels."""
  rng = np.random.default_rng(step)
  cells = rng.integers(0, CLASSES, (8, 4, 4))
  label = np.kron(cells, np.ones((1, 8, 8), int)).astype(np.uint8)
  image = lambda labels: (labels[..., None] * 40 + rng.integers(0, 60, (8, *SIZE, 3))).astype(
    np.uint8
  )
  return {
    "source": {"image": image(label), "label": label},
    "target": {"image": image(label[:, ::-1])},
  }


def run(num_devices: int, num_steps: int = 4):
  model, method, tx = parts()
  mesh = mesh_lib.data_mesh(num_devices)
  replicated = mesh_lib.replicated(mesh)
  step = jax.jit(
    train_step.make_train_step(model, method, tx, teacher_rule=teacher.Rule(0.9)),
    donate_argnums=0,
    out_shardings=(replicated, replicated),
    compiler_options=golden_steps.OPTIMIZED,
  )
  create = lambda: state.create(model, method, tx, image_size=SIZE, seed=0)
  current = jax.jit(create, compiler_options=golden_steps.OPTIMIZED)()
  current = jax.device_put(current, replicated)
  history = []
  for i in range(num_steps):
    current, metrics = step(current, mesh_lib.put_batch(mesh, batch_of(i)))
    history.append(jax.block_until_ready(metrics))
  return jax.device_get((current.student, current.teacher)), jax.device_get(history)


def test_eight_devices_equal_one_after_several_steps():
  one, eight = run(1), run(8)
  assert one[1][0]["loss/mixed"] > 0
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, one, eight)


def test_a_batch_that_the_devices_cannot_share_is_refused():
  with pytest.raises(ValueError, match="batch_size = 3 cannot be split over 8 devices"):
    mesh_lib.check_batch_size(3, mesh_lib.data_mesh())


def test_the_step_survives_bfloat16_compute():
  model, method, tx = parts()
  low = models.build(
    encoder="compact",
    decoder="light",
    num_classes=CLASSES,
    encoder_options={"widths": (8, 8, 16), "depths": (1, 1)},
    dtype=jnp.bfloat16,
  )
  current = state.create(low, method, tx, image_size=SIZE, seed=0)
  step = jax.jit(train_step.make_train_step(low, method, tx, teacher_rule=teacher.Rule(0.9)))
  after, metrics = step(current, batch_of(0))
  assert np.isfinite(metrics["loss"])
  assert {leaf.dtype for leaf in jax.tree.leaves(after.student)} == {jnp.dtype("float32")}
