"""A tiny learner for every method: networks of a few thousand parameters, images of 32x32.

`learner(name)` is built once per session, and its steps are compiled once however many tests ask.
"""

import functools

import numpy as np
from jax.sharding import Mesh

from jax_uda import methods, models
from jax_uda.common import mesh as mesh_lib
from jax_uda.step import optimizer
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task
from jax_uda.step.teacher import Rule

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
ADAPTED = VIT | dict(
  encoder="dinov2_vits14_adapter",
  decoder="pyramid",
  encoder_options=dict(
    **VIT["encoder_options"], patch=16, enlarge=1.0, deform_heads=2, spatial_width=4
  ),
)
FOUNDATION = dict(
  foundation=dict(
    encoder="dinov2_vits14_reg",
    weights="random",
    options=dict(embed_dim=12, depth=1, num_heads=2, position_grid=2),
    size=28,
  )
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
  "dacs_with_everything": (
    dict(
      name="dacs",
      self_training=dict(pseudo_threshold=0.3, source_augmentation=True, class_weight_power=0.3),
      feature_distance_weight=0.01,
      **THINGS,
    ),
    {},
  ),
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
  "min_entropy": (dict(name="min_entropy"), {}),
  "adv_seg": (dict(name="adv_seg", discriminator_width=8), {}),
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
  "confetii": (
    dict(
      name="confetii",
      levels=(1, 2),
      embedding_dim=8,
      consistency_after=0,
      mixed_after=1,
      contrast=dict(fraction=0.3),
      prototypes=dict(top_k=8),
      translator=CUT | dict(decay_steps=10, drop_cell=8),
      **TEACHER,
      **THINGS,
    ),
    {},
  ),
  "vfm_uda": (dict(name="vfm_uda", pseudo_threshold=0.3), VIT),
  "vfm_uda_plus": (
    dict(name="vfm_uda_plus", pseudo_threshold=0.3, mask_block=8, **FOUNDATION),
    ADAPTED,
  ),
  "much_together": (
    dict(
      name="dacs",
      also=dict(masked=dict(block=8), pixel_contrasted=dict(grid=(5, 5)), translated=CUT),
      **TEACHER,
    ),
    {},
  ),
}
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


@functools.cache
def learner(name: str, num_devices: int = 8, *, mesh: Mesh | None = None) -> Learner:
  """The learner of one of `METHODS` on a number of devices, or on a mesh."""
  settings, network = METHODS[name]
  return Learner(
    models.build(num_classes=CLASSES, **(SMALL | network)),
    methods.build(TASK, **settings),
    schedule=lambda step: 1e-3,
    # Not AdamW, which makes the rounding errors of tiny gradients as large as gradients.
    optimizer=functools.partial(optimizer.build, name="sgd", weight_decay=0.01),
    teacher_rule=Rule(0.9),
    mesh=mesh or mesh_lib.data_mesh(num_devices),
  )
