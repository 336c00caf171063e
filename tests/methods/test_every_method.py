"""Every method: eight devices equal one, and a run that was killed continues as if it had not been."""

import functools

import jax
import numpy as np
import pytest

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.run import checkpoint
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Task

CLASSES, SIZE = 5, (32, 32)
TASK = Task(CLASSES, (0.4, 0.3, 0.2, 0.1, 0.0))
TEACHER = dict(self_training=dict(pseudo_threshold=0.3, mix_per_image_classes=True))
THINGS = dict(thing_classes=(1, 2))
CUT = dict(
  num_patches=8,
  generator=dict(width=4, blocks=1, nce_layers=(0, 4, 8, 12)),
  discriminator=dict(width=4),
  patch_mlp=dict(dim=8),
  learning_rate=1e-5,  # its Adams make steps of this size of rounding errors, e.g. before a norm
)
CONFETI = dict(
  **TEACHER, **THINGS, embedding_dim=8, contrast_after=0, mixed_cam_after=0, translator=CUT
)
VIT = dict(
  encoder="dinov2_vits14",
  decoder="vit_head",
  decoder_options={},
  encoder_options=dict(embed_dim=8, depth=1, num_heads=2, position_grid=2),
)
HRDA = dict(
  crop_size=(16, 16),
  fusion="resize_first",
  feature_weighter=True,
  attention_options=dict(embed_dim=4, channels=4),
)

# Name -> settings of the method, and of the network where it is not the small one.
METHODS = {
  "source_only": (dict(name="source_only"), {}),
  "daformer": (dict(name="daformer", **TEACHER, **THINGS), {}),
  "mic": (dict(name="mic", masked=dict(block=8), **TEACHER, **THINGS), {}),
  "hrda_cluda": (
    dict(name="cluda", pixel_contrasted=dict(grid=(5, 5)), **TEACHER, **THINGS),
    dict(hrda=HRDA),
  ),
  "sepico_bank": (
    dict(
      name="sepico",
      contrast=dict(variant="bank", bank_length=3),
      start_step=0,
      embedding_dim=8,
      crop_target=False,
      head_options=dict(hidden=8),
      **TEACHER,
    ),
    {},
  ),
  "spcl": (
    dict(
      name="spcl",
      feature_dim=8,
      similarity=dict(target="target", threshold=0.3, source_pass=False),
      **TEACHER,
    ),
    {},
  ),
  "spcl_warm_up": (dict(name="spcl_warm_up"), {}),
  "rccr": (
    dict(
      name="rccr",
      region_consistent=dict(embedding_dim=8, contrast=dict(num_rows=16, weight=1.0)),
      **TEACHER,
    ),
    {},
  ),
  "confeti_joint": (dict(name="confeti", stage=1, **CONFETI), {}),
  "confeti_last": (dict(name="confeti", stage=2, **CONFETI), {}),
  "vfm_uda": (dict(name="vfm_uda", pseudo_threshold=0.3), VIT),
  "much_together": (
    dict(
      name="dacs",
      also=dict(masked=dict(block=8), pixel_contrasted=dict(grid=(5, 5)), translated=CUT),
      **TEACHER,
    ),
    {},
  ),
}
# What a plain run of the tests looks at; the rest is marked `long`.
QUICK = ("sepico_bank", "rccr", "spcl_warm_up")
# Of one device against eight; players have Adams, see there.
TOLERANCES = {"student": 1e-5, "teacher": 1e-5, "objective_state": 1e-5, "auxiliary": 2e-4}
SMALL = dict(
  encoder="compact",
  decoder="light",
  encoder_options=dict(widths=(8, 8, 16), depths=(1, 1)),
  decoder_options=dict(width=8),
)


def batch_of(step: int):
  """Eight source and eight target images; blocks of colour with their labels."""
  rng = np.random.default_rng(step)
  label = np.kron(rng.integers(0, CLASSES, (8, 4, 4)), np.ones((1, 8, 8), int)).astype(np.uint8)
  noise = lambda: rng.integers(0, 60, (8, *SIZE, 3))
  image = lambda labels: (labels[..., None] * 40 + noise()).astype(np.uint8)
  return {
    "source": {"image": image(label), "label": label},
    "target": {"image": image(label[:, ::-1])},
  }


class Runner:
  """One method on a number of devices; its programs are compiled once."""

  def __init__(self, name: str, num_devices: int):
    settings, network = METHODS[name]
    self.method = methods.build(TASK, **settings)
    heads = {key: head(dtype=np.float32) for key, head in self.method.heads.items()}
    self.model = models.build(num_classes=CLASSES, **(SMALL | network)).clone(heads=heads)
    schedule = lambda step: 1e-3
    # Not AdamW, which makes the rounding errors of tiny gradients as large as gradients.
    self.optimizer = optimizer.build(
      schedule, name="sgd", weight_decay=0.01, start_steps=self.method.start_steps
    )
    self.player = self.method.auxiliary(schedule) if self.method.auxiliary else None
    self.mesh = mesh_lib.data_mesh(num_devices)
    self._steps = {}

  def start(self) -> state.TrainState:
    parts = (self.model, self.method, self.optimizer)
    create = lambda: state.create(*parts, image_size=SIZE, seed=0, auxiliary=self.player)
    return jax.jit(create, out_shardings=mesh_lib.replicated(self.mesh))()

  def _step(self, phase: int):
    if phase not in self._steps:
      self._steps[phase] = self._compile(phase)
    return self._steps[phase]

  def _compile(self, phase: int):
    replicated = mesh_lib.replicated(self.mesh)
    step = train_step.make_train_step(
      self.model,
      self.method,
      self.optimizer,
      teacher_rule=teacher.Rule(0.9),
      auxiliary=self.player,
      phase=phase,
    )
    return jax.jit(step, out_shardings=(replicated, replicated))

  def run(self, now: state.TrainState, end: int):
    for index in range(int(now.step), end):
      step = self._step(self.method.phase(index))
      now, metrics = step(now, mesh_lib.put_batch(self.mesh, batch_of(index)))
      jax.block_until_ready(metrics)
      assert all(np.isfinite(value) for value in metrics.values()), metrics
    return now


def host(now: state.TrainState):
  return jax.tree.map(np.asarray, now.replace(key=jax.random.key_data(now.key)))


def assert_close(found, expected, *, atol: float, field: str):
  """A sum's rounding error goes by its largest terms: `atol` is of the array's largest value, or 1."""
  scale = np.max(np.abs(expected), initial=1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol * scale, err_msg=field)


@pytest.mark.parametrize(
  "name",
  [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in METHODS],
)
def test_a_run_continues_where_it_was_killed_also_on_fewer_devices(name, tmp_path):
  eight, one = Runner(name, 8), Runner(name, 1)
  middle = eight.run(eight.start(), 2)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(middle)
  whole = host(eight.run(middle, 4))
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    continued = host(eight.run(checkpoints.restore(eight.start()), 4))
    elsewhere = host(one.run(checkpoints.restore(one.start()), 4))
  jax.tree.map(np.testing.assert_array_equal, whole, continued)
  for field, atol in TOLERANCES.items():
    close = functools.partial(assert_close, atol=atol, field=field)
    jax.tree.map(close, getattr(elsewhere, field), getattr(whole, field))
