"""RCCR (Zhou et al., ICME 2022): self-training, and regions consistent with the teacher's.

`add_region_consistent` adds to any self-training method a CutMix view, a box of the target in a source
image, and the contrast of the student's cells inside with the teacher's of the same place. `rccr` adds
it to DACS with the details of the published code. Extra cost: one student pass.
"""

import functools
import types
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda import objectives
from jax_uda.common import registry
from jax_uda.methods import extension
from jax_uda.methods._dacs import dacs
from jax_uda.methods.requirements import require_labels, require_views
from jax_uda.models.heads.projection import RegionProjectionHead
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Pass, View, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views import cutmix, self_training, strong
from jax_uda.views.self_training import SelfTraining

HEAD = "region"


class Draws(struct.PyTreeNode):
  """Random numbers of the CutMix view.

  Attributes:
    box: The box that is cut out of the target.
    augmentation: Strong augmentation of the CutMix images.
  """

  box: cutmix.CutMixDraws
  augmentation: strong.StrongDraws


def cutmix_views(cell: int, jitter_strength: float) -> ViewMaker:
  """Makes the view `cutmix`: a box of the target, of whole cells of `cell` pixels, in a source image.

  Its weight is 1 inside the box and 0 elsewhere; the views `source` and `target` are needed.
  """

  def draw(key: jax.Array, batch: Batch) -> Draws:
    key, batch_size = named_key(key, "region_consistent"), batch["source"]["image"].shape[0]
    augmentation = strong.draw(named_key(key, "look"), batch_size, strength=jitter_strength)
    return Draws(
      box=cutmix.draw(named_key(key, "box")), augmentation=strong.share_across_batch(augmentation)
    )

  def make(draws: Draws, batch: Batch, teacher, views: dict[str, View]) -> dict[str, View]:
    del teacher
    require_views(views, "region_consistent", "source", "target")
    image = batch["source"]["image"]
    size = size_of(image)
    box = cutmix.cutmix_box(draws.box.ratio, draws.box.offset, size, cell)
    inside = cutmix.box_mask(box, size)
    weight = jnp.broadcast_to(inside.astype(jnp.float32), image.shape[:3])
    label = cutmix.paste(inside, views["target"].label, views["source"].label)
    mixed = View(cutmix.paste(inside, views["target"].image, image), label, weight)
    return {"cutmix": self_training.augmented(mixed, draws.augmentation)}

  return ViewMaker(make, draw)


def add_region_consistent(
  task: Task,
  method: Method,
  *,
  source: Literal["last", "fused"] = "last",
  pool: int = 1,
  cell: int = 8,
  embedding_dim: int = 128,
  hidden: int = 0,
  uniform_bias: bool = False,
  train_projector: bool = True,
  jitter_strength: float = 0.25,
  align_corners: bool = False,
  contrast: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """`method` with the CutMix view and its region contrast.

  Args:
    task: Not used; every component takes it.
    method: A method with the views `source` and `target`, with pseudo-labels of an image without
      augmentation.
    source: What the head reads: the "last" encoder map, or the decoder's "fused" one.
    pool: Side of the cells of that map that are averaged to one: 1 for a map of stride 8, 2 for a
      fused map of stride 4.
    cell: Side of a cell in pixels: the stride of the map times `pool`.
    embedding_dim: Channels of the head, A.
    hidden: Channels of the head's first layer; 0 = as many as come in.
    uniform_bias: Whether the head's biases start as in the published code and its recipes, and not
      at 0; see `RegionProjectionHead`.
    train_projector: False leaves the head at its random start, as the published code does.
    jitter_strength: Largest relative change of the color jitter of the CutMix images.
    align_corners: Corner alignment when the teacher's logits are resized to the cells.
    contrast: Further keyword arguments of `objectives.region_consistency`.
  """
  del task
  require_labels(method, "region_consistent", "target")
  term = registry.call(
    objectives.region_consistency,
    "contrast",
    view="cutmix",
    source="source",
    target="target",
    head=HEAD,
    dim=embedding_dim,
    cell=cell,
    align_corners=align_corners,
    **contrast,
  )
  head = functools.partial(
    RegionProjectionHead,
    dim=embedding_dim,
    hidden=hidden,
    uniform_bias=uniform_bias,
    source=source,
    pool=pool,
  )
  return extension.extend(
    method,
    "region_consistent",
    views=cutmix_views(cell, jitter_strength),
    terms={"region": term},
    passes={"cutmix": Pass(outputs=(HEAD,) if source == "last" else ("fused", HEAD))},
    heads={HEAD: head},
    start_steps={} if train_projector else {f"heads_{HEAD}": None},
  )


def rccr(
  task: Task,
  *,
  self_training: SelfTraining = SelfTraining(mix_per_image_classes=True, jitter_strength=0.25),
  source_denominator: Literal["all", "valid"] = "valid",
  region_consistent: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """RCCR on DACS with the classes of ClassMix drawn from each image.

  Args:
    task: Number and frequencies of the classes.
    self_training: Pseudo-labels, mixing and augmentation.
    source_denominator: As in `dacs`.
    region_consistent: Keyword arguments of `add_region_consistent`; jitter and corner alignment are
      those of `self_training` by default.
  """
  method = dacs(task, self_training=self_training, source_denominator=source_denominator)
  shared = dict(
    jitter_strength=self_training.jitter_strength, align_corners=self_training.align_corners
  )
  return extension.add(
    add_region_consistent,
    "method.region_consistent",
    task,
    method,
    **(shared | dict(region_consistent)),
  )
