"""Class prototypes of mixed images, from the teacher, and terms that compare the student with them.

CONFETI (Li et al., CVPR Workshops 2023). `cam_prototypes` is the objective; it keeps the prototypes,
and its terms see those just updated.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.ops import resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result

# From prototypes [C, A] and the step's context to a loss and its parts for the log.
Term = Callable[[jax.Array, Context], tuple[jax.Array, dict[str, jax.Array]]]


def cam_prototypes(
  *,
  view: str,
  warmup_view: str,
  warmup_end: int,
  num_classes: int,
  dim: int,
  terms: Mapping[str, Term],
  head: str = "projection",
  cam_head: str = "cam",
  **update: Any,
) -> Objective:
  """Moves the prototypes, then adds the terms, in the order given.

  In the warm-up all pixels count alike, and are those that `warmup_view` has labels for.

  Args:
    view: Labelled view for the teacher, the mixed one.
    warmup_view: The same image with the labels of its source part only.
    warmup_end: First step after the warm-up; a gate of the method.
    num_classes: C.
    dim: Embedding dimension, A.
    terms: By name.
    head: The head that gives the embeddings.
    cam_head: The head that gives class activation maps, before their ReLU.
    **update: See `memory.cam_prototypes.update`.
  """

  def init(key: jax.Array) -> memory.CamPrototypes:
    del key  # no class seen yet
    return memory.empty_cam_prototypes(num_classes, dim)

  def apply(state: memory.CamPrototypes, ctx: Context) -> Result:
    warmup = not ctx.started(warmup_end)
    name = warmup_view if warmup else view
    heads = ctx.teacher(name).heads
    state = memory.cam_prototypes.update(
      state,
      heads[head],
      jax.nn.relu(heads[cam_head]),
      ctx.views[name].label,
      warmup=warmup,
      **update,
    )
    total, metrics = jnp.float32(0), {"classes_seen": jnp.sum(state.counts > 0)}
    for name, term in terms.items():
      loss, parts = term(state.prototypes, ctx)
      total = total + loss
      metrics |= {f"{name}_{part}": value for part, value in parts.items()}
    return Result(total, state, metrics)

  return Objective(init, apply)


def prototype_contrast(
  *,
  view: str,
  start_step: int = 0,
  head: str = "projection",
  temperature: float = 0.1,
  num_samples: int = 4096,
  weight: float = 0.5,
  regularizer_weight: float = 2.0,
  regularizer_sign: int = 1,
  weigh: bool = False,
) -> Term:
  """Some pixels against the prototypes, and the regulariser of all of them.

  Labels are those of each cell's first pixel. `Context.draws.rows[view]`, uniform numbers
  [B, H, W] of at least the embeddings' grid, choose the pixels.

  Args:
    view: View with labels; the weights of pixels play no part.
    start_step: The first step; a gate of the method.
    head: The head that gives the embeddings, which are normalised here.
    temperature: Divides the similarities.
    num_samples: Most pixels of the batch.
    weight: Of the contrast.
    regularizer_weight: Of `losses.mean_similarity_regularizer`.
    regularizer_sign: Its sign.
    weigh: Multiply both by the mean weight of the view's pixels, the confident share.
  """

  def term(prototypes: jax.Array, ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    data, embedding = ctx.views[view], ctx.student(view).heads[head]
    grid = embedding.shape[1:3]
    label = losses.nearest_label(data.label, grid)
    uniforms = resize.nearest(ctx.draws.rows[view][..., None], grid)[..., 0]
    valid = (label >= 0) & (label < len(prototypes))
    common = dict(temperature=temperature, normalize=True)
    contrast = weight * losses.prototype_cross_entropy(
      embedding,
      label,
      prototypes,
      weights=losses.sample_valid(valid, num_samples, uniforms=uniforms),
      **common,
    )
    regularizer = regularizer_weight * losses.mean_similarity_regularizer(
      embedding, label, prototypes, sign=regularizer_sign, **common
    )
    share = jnp.mean(data.weight) if weigh else 1.0
    parts = {"contrast": share * contrast, "regularizer": share * regularizer}
    return share * (contrast + regularizer), parts

  return term


def translation_consistency(
  *,
  view: str,
  translated_view: str,
  translate: Callable[[Any, jax.Array], jax.Array],
  regress: Callable[[Any, jax.Array], jax.Array],
  head: str = "projection",
  weight: float = 0.1,
) -> Term:
  """The translation of an image keeps its pixels' similarities to the prototypes.

  The student is a constant here (`frozen` in `Method.calls` of both views): the gradient reaches the
  second player only.

  Args:
    view: The source image as it is; the student passes it first.
    translated_view: Name of the pass of its translation, differentiable by the player's parameters.
    translate: `(player's parameters, image) -> image`.
    regress: `(player's parameters, embeddings) -> embeddings`, on the side of the translation.
    head: The head that gives the embeddings, used as they are.
    weight: Of the loss.
  """

  def term(prototypes: jax.Array, ctx: Context):
    reference = ctx.student(view).heads[head]
    image = translate(ctx.player, ctx.views[view].image)
    embedding = ctx.student(translated_view, image=image).heads[head]
    regressed = regress(ctx.player, embedding)
    loss = weight * losses.semantic_consistency(regressed, reference, prototypes)
    return loss, {"loss": loss}

  return term
