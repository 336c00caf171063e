"""Class prototypes of mixed images, from the teacher, and terms that compare the student with them.

CONFETI (Li et al., CVPR Workshops 2023). `cam_prototypes` is the objective; it keeps the prototypes,
and its comparisons see those just updated.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.ops import labels, resize
from jax_uda.ops.resize import size_of
from jax_uda.ops.sampling import sample_valid
from jax_uda.step.context import Context, named_key
from jax_uda.step.objective import Batch, Objective, Result, no_draws


class Comparison(NamedTuple):
  """One part of `cam_prototypes`' loss.

  Attributes:
    apply: `(prototypes [C, A], ctx, draws) -> (loss, its parts for the log)`.
    draw: `(key, batch) -> draws`, the random numbers that it needs.
    phases: Steps at which its program changes.
  """

  apply: Callable[[jax.Array, Context, Any], tuple[jax.Array, dict[str, jax.Array]]]
  draw: Callable[[jax.Array, Batch], Any] = no_draws
  phases: tuple[int, ...] = ()


def cam_prototypes(
  *,
  view: str,
  warmup_view: str,
  warmup_end: int,
  num_classes: int,
  dim: int,
  comparisons: Mapping[str, Comparison],
  head: str = "projection",
  cam_head: str = "cam",
  update: Mapping[str, Any] | None = None,
) -> Objective[memory.CamPrototypes]:
  """Moves the prototypes, then adds the comparisons, in the order given.

  In the warm-up all pixels count alike, and are those that `warmup_view` has labels for.

  Args:
    view: Labelled view for the teacher, the mixed one.
    warmup_view: The same image with the labels of its source part only.
    warmup_end: First step after the warm-up.
    num_classes: Number of classes, C.
    dim: Embedding dimension, A.
    comparisons: Parts of the loss by name.
    head: The head that gives the embeddings.
    cam_head: The head that gives class activation maps, before their ReLU.
    update: Keyword arguments of `memory.cam_prototypes.update`.
  """

  def init(key: jax.Array) -> memory.CamPrototypes:
    del key  # no class has a prototype yet
    return memory.empty_cam_prototypes(num_classes, dim)

  def draw(key: jax.Array, batch: Batch) -> dict[str, Any]:
    return {name: part.draw(key, batch) for name, part in comparisons.items()}

  def apply(
    state: memory.CamPrototypes, ctx: Context, draws: Mapping[str, Any]
  ) -> Result[memory.CamPrototypes]:
    warmup = not ctx.started(warmup_end)
    labelled = warmup_view if warmup else view
    heads = ctx.teacher(labelled).heads
    state = memory.cam_prototypes.update(
      state,
      heads[head],
      jax.nn.relu(heads[cam_head]),
      ctx.views[labelled].label,
      warmup=warmup,
      **(update or {}),
    )
    total, metrics = jnp.float32(0), {"classes_seen": jnp.sum(state.counts > 0)}
    for name, comparison in comparisons.items():
      loss, parts = comparison.apply(state.prototypes, ctx, draws[name])
      total = total + loss
      metrics |= {f"{name}_{part}": value for part, value in parts.items()}
    return Result(total, state, metrics)

  phases = {warmup_end}.union(*(comparison.phases for comparison in comparisons.values()))
  return Objective(init, apply, draw, tuple(sorted(phases)))


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
) -> Comparison:
  """Some pixels against the prototypes, and the regularizer of all of them.

  Labels are those of each cell's first pixel. It draws [B, H, W] uniform numbers, which choose the
  pixels.

  Args:
    view: View with labels; the weights of pixels play no part.
    start_step: First step of the comparison.
    head: The head that gives the embeddings, which are normalised here.
    temperature: Divides the similarities.
    num_samples: Most pixels of the batch.
    weight: Factor of the contrast.
    regularizer_weight: Factor of `losses.mean_similarity_regularizer`.
    regularizer_sign: Sign of the regularizer.
    weigh: Whether both are multiplied by the mean weight of the view's pixels, the confident share.
  """

  def draw(key: jax.Array, batch: Batch) -> jax.Array:
    return jax.random.uniform(named_key(key, f"rows/{view}"), batch["source"]["label"].shape)

  def apply(prototypes: jax.Array, ctx: Context, draws: jax.Array):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    data, embedding = ctx.views[view], ctx.student(view).heads[head]
    grid = size_of(embedding)
    label = labels.nearest_label(data.label, grid)
    uniforms = resize.nearest(draws[..., None], grid)[..., 0]
    valid = (label >= 0) & (label < len(prototypes))
    contrast = weight * losses.prototype_cross_entropy(
      embedding,
      label,
      prototypes,
      weights=sample_valid(valid, num_samples, uniforms=uniforms),
      temperature=temperature,
      normalize=True,
    )
    regularizer = regularizer_weight * losses.mean_similarity_regularizer(
      embedding,
      label,
      prototypes,
      sign=regularizer_sign,
      temperature=temperature,
      normalize=True,
    )
    share = jnp.mean(data.weight) if weigh else 1.0
    parts = {"contrast": share * contrast, "regularizer": share * regularizer}
    return share * (contrast + regularizer), parts

  return Comparison(apply, draw, (start_step,))


def translation_consistency(
  *,
  view: str,
  translated_view: str,
  translate: Callable[[Any, jax.Array], jax.Array],
  regress: Callable[[Any, jax.Array], jax.Array],
  head: str = "projection",
  weight: float = 0.1,
) -> Comparison:
  """The translation of an image keeps its pixels' similarities to the prototypes.

  The student is a constant here (`Pass.frozen` for both views): the gradient reaches the auxiliary
  networks only.

  Args:
    view: The untranslated source view; its forward pass runs first.
    translated_view: Name of the pass of its translation, differentiable by the translator.
    translate: `(auxiliary parameters, image) -> image`.
    regress: `(auxiliary parameters, embeddings) -> embeddings`, on the side of the translation.
    head: The head that gives the embeddings, used as they are.
    weight: Factor of the loss.
  """

  def apply(prototypes: jax.Array, ctx: Context, draws: None):
    del draws
    reference = ctx.student(view).heads[head]
    image = translate(ctx.auxiliary, ctx.views[view].image)
    embedding = ctx.student(translated_view, image=image).heads[head]
    regressed = regress(ctx.auxiliary, embedding)
    loss = weight * losses.semantic_consistency(regressed, reference, prototypes)
    return loss, {"loss": loss}

  return Comparison(apply)
