"""RCCR (Zhou et al., ICME 2022): self-training, and regions consistent with the teacher's.

`region_consistent` adds to any self-training method a CutMix view, a box of the target in a source
image, and the contrast of the student's cells inside with the teacher's of the same place. `rccr` adds
it to DACS with the details of the published code. Extra cost: one student pass.
"""

import functools
from typing import Any, Literal

import flax
import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.methods import extension
from jax_uda.methods._dacs import dacs
from jax_uda.methods.requirements import require_labels, require_views
from jax_uda.models.heads.projection import RegionProjectionHead
from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch, Method, Task
from jax_uda.step.optimizer import NEVER
from jax_uda.views import cutmix, self_training, strong

HEAD = "region"


@flax.struct.dataclass
class Draws:
  """Random numbers of the CutMix view.

  Attributes:
    box: Of CutMix.
    look: Strong augmentation of the CutMix images.
    rows: [2, R] uniform numbers that choose cells for the queue.
  """

  box: cutmix.CutMixDraws
  look: strong.StrongDraws
  rows: jax.Array


def region_consistent(
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
  **contrast: Any,
) -> Method:
  """`method` with the CutMix view and its region contrast.

  Args:
    task: The classes and the standardisation.
    method: Has the views `source` and `target`, with pseudo-labels of an image without augmentation.
    source: What the head reads: the "last" encoder map, or the decoder's "fused" one.
    pool: Side of the cells of that map that are averaged to one: 1 for a map of stride 8, 2 for a
      fused map of stride 4.
    cell: Side of a cell in pixels: the stride of the map times `pool`.
    embedding_dim: A.
    hidden: Channels of the head's first layer; 0 = as many as come in.
    uniform_bias: Start the head's biases as the published code and its recipes do, and not at 0; see
      `RegionProjectionHead`.
    train_projector: False leaves the head at its random start, as the published code does.
    jitter_strength: Of the colour jitter of the CutMix images.
    **contrast: See `objectives.region_consistency`.

  Raises:
    TypeError: A setting is unknown.
  """

  del task
  require_labels(method, "region_consistent", "target")

  def draw(key: jax.Array, batch: Batch) -> Draws:
    batch_size, height, width = batch["source"]["image"].shape[:3]
    look = strong.draw(named_key(key, "look"), batch_size, strength=jitter_strength)
    cells = batch_size * (height // cell + 1) * (width // cell + 1)
    return Draws(
      box=cutmix.draw(named_key(key, "box")),
      look=strong.share_across_batch(look),
      rows=jax.random.uniform(named_key(key, "rows"), (2, cells)),
    )

  def views(draws: Draws, batch: Batch, teacher, found):
    del teacher
    require_views(found, "region_consistent", "source", "target")
    image = batch["source"]["image"]
    size = image.shape[1:3]
    box = cutmix.cutmix_box(draws.box.ratio, draws.box.offset, size, cell)
    inside = cutmix.box_mask(box, size)
    weight = jnp.broadcast_to(inside.astype(jnp.float32), image.shape[:3])
    label = cutmix.paste(inside, found["target"].label, found["source"].label)
    mixed = View(cutmix.paste(inside, found["target"].image, image), label, weight)
    return {"cutmix": self_training.augmented(mixed, draws.look)}

  term = objectives.region_consistency(
    view="cutmix",
    source="source",
    target="target",
    head=HEAD,
    dim=embedding_dim,
    cell=cell,
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
    draw=draw,
    views=views,
    terms={"region": term},
    calls={"cutmix": {"parts": (HEAD,) if source == "last" else ("map", HEAD)}},
    heads={HEAD: head},
    start_steps={} if train_projector else {f"heads_{HEAD}": NEVER},
  )


def rccr(task: Task, *, jitter_strength: float = 0.25, **settings: Any) -> Method:
  """RCCR on DACS with the classes of ClassMix drawn from each image.

  Args:
    task: The classes and the standardisation.
    jitter_strength: Of all strong augmentation.
    **settings: See `dacs` and `region_consistent`.

  Raises:
    TypeError: A setting is unknown.
  """
  base, own = extension.split_settings(settings, dacs)
  defaults = dict(mix_per_image_classes=True, source_denominator="valid")
  method = dacs(task, jitter_strength=jitter_strength, **(defaults | base))
  corners = base.get("align_corners", False)
  return region_consistent(
    task, method, jitter_strength=jitter_strength, align_corners=corners, **own
  )
