"""Class prototypes for several levels of the encoder, and what is compared with them (CONFETII).

Every level of the encoder has a projection, a class activation map and prototypes of its own; losses are
averaged over the levels. `level_prototypes` is the objective, which keeps the prototypes. Its comparisons
see them as they are after a warm-up's update and before an update by mixed images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.common.registry import SettingError
from jax_uda.memory import CamPrototypes
from jax_uda.objectives._cam_prototypes import Comparison
from jax_uda.ops import arrays, resize
from jax_uda.ops.labels import soft_label
from jax_uda.ops.resize import size_of
from jax_uda.ops.sampling import sample_valid
from jax_uda.step.context import Context, named_key
from jax_uda.step.objective import Batch, Objective, Result


def level_prototypes(
  *,
  source_view: str,
  mixed_view: str,
  warmup_end: int,
  num_classes: int,
  dim: int,
  heads: Sequence[str],
  cam_heads: Sequence[str],
  comparisons: Mapping[str, Comparison],
  momentum: float = 0.999,
  top_k: int = 256,
) -> Objective[CamPrototypes]:
  """Prototypes [L, C, A] of L levels, from the teacher; they begin as random unit vectors.

  Before step `warmup_end` they follow the means of all source pixels, and after it the pixels of mixed
  images with the largest class activations. At that step itself they stay, as published.

  Args:
    source_view: Labelled view of the warm-up.
    mixed_view: Labelled view of later steps.
    warmup_end: The step between the two.
    num_classes: Number of classes, C.
    dim: Embedding dimension, A.
    heads: The head that gives the embeddings of each level.
    cam_heads: The head that gives its class activation maps, before their ReLU.
    comparisons: Parts of the loss by name, evaluated in this order with the prototypes [L, C, A].
    momentum: Most weight of an old prototype, in the bias-corrected moving average.
    top_k: The most pixels per class and level after the warm-up.

  Source: CONFETII; golden `confetii/train_steps_*`.
  """

  def init(key: jax.Array) -> CamPrototypes:
    vectors = jax.random.normal(key, (len(heads), num_classes, dim))
    return CamPrototypes(arrays.l2_normalize(vectors), jnp.zeros((len(heads), num_classes)))

  def draw(key: jax.Array, batch: Batch) -> dict[str, Any]:
    return {name: part.draw(key, batch) for name, part in comparisons.items()}

  def by_means(state: CamPrototypes, ctx: Context) -> CamPrototypes:
    maps, label = ctx.teacher(source_view).heads, ctx.views[source_view].label
    move = lambda now, head, _: memory.cam_prototypes.update_by_means(
      now, maps[head], label, momentum=momentum
    )
    moved = _by_level(move, state, heads, cam_heads)
    # One program for the warm-up and the step at its end.
    warms_up = ctx.step < warmup_end
    return jax.tree.map(lambda new, old: jnp.where(warms_up, new, old), moved, state)

  def by_activations(state: CamPrototypes, ctx: Context) -> CamPrototypes:
    maps, label = ctx.teacher(mixed_view).heads, ctx.views[mixed_view].label
    move = lambda now, head, cam_head: memory.cam_prototypes.update(
      now,
      maps[head],
      jax.nn.relu(maps[cam_head]),
      label,
      momentum=momentum,
      top_k=top_k,
      proto_ema="bias_corrected",
      align_corners=False,
    )
    return _by_level(move, state, heads, cam_heads)

  def apply(state: CamPrototypes, ctx: Context, draws: Mapping[str, Any]) -> Result[CamPrototypes]:
    warms_up = not ctx.started(warmup_end + 1)
    state = by_means(state, ctx) if warms_up else state
    total, metrics = jnp.float32(0), {}
    for name, comparison in comparisons.items():
      loss, parts = comparison.apply(state.prototypes, ctx, draws[name])
      total = total + loss
      metrics |= {f"{name}_{part}": value for part, value in parts.items()}
    state = state if warms_up else by_activations(state, ctx)
    metrics["classes_seen"] = jnp.sum(state.counts > 0) / len(heads)
    return Result(total, state, metrics)

  phases = {warmup_end + 1}.union(*(comparison.phases for comparison in comparisons.values()))
  return Objective(init, apply, draw, tuple(sorted(phases)))


def _by_level(
  move: Callable[[CamPrototypes, str, str], CamPrototypes],
  state: CamPrototypes,
  heads: Sequence[str],
  cam_heads: Sequence[str],
) -> CamPrototypes:
  """The state whose level l is `move(level l, head l, head l of the activation maps)`."""
  levels = [
    move(CamPrototypes(state.prototypes[level], state.counts[level]), head, cam_head)
    for level, (head, cam_head) in enumerate(zip(heads, cam_heads, strict=True))
  ]
  return jax.tree.map(lambda *parts: jnp.stack(parts), *levels)


def level_contrast(
  *,
  view: str,
  start_step: int,
  heads: Sequence[str],
  num_classes: int,
  temperature: float = 0.1,
  fraction: float = 1.0,
  weight: float = 0.1,
  regularizer_weight: float = 0.1,
  regularizer_sign: int = 1,
) -> Comparison:
  """Cells against the prototypes by the shares of classes in them, and the regularizer of all cells.

  Cells without labels count in both means, as published. If `fraction` is below 1, [B, H, W] uniform
  numbers are drawn for each level, which choose the cells.

  Args:
    view: View with labels; the weights of pixels play no part.
    start_step: First step of the comparison.
    heads: The head that gives the embeddings of each level, which are normalised here.
    num_classes: Number of classes, C.
    temperature: Divides the similarities.
    fraction: Share of the batch's cells that are contrasted, rounded down to a number of cells.
    weight: Factor of the contrast.
    regularizer_weight: Factor of `losses.mean_similarity_regularizer`.
    regularizer_sign: Sign of the regularizer.

  Raises:
    SettingError: `fraction` is not above 0 and at most 1.
  """
  if not 0 < fraction <= 1:
    raise SettingError("method.contrast.fraction", f"= {fraction} must be above 0, and at most 1.")

  def draw(key: jax.Array, batch: Batch) -> tuple[jax.Array, ...]:
    shape = batch["source"]["label"].shape
    keys = [named_key(key, f"rows/{view}/{head}") for head in heads if fraction < 1]
    return tuple(jax.random.uniform(k, shape) for k in keys)

  def cells_of(draws: tuple[jax.Array, ...], level: int, shape: tuple[int, ...]):
    """The weights [B, h, w] of a level's cells."""
    if fraction == 1:
      return None
    uniforms = resize.nearest(draws[level][..., None], (shape[1], shape[2]))[..., 0]
    every = jnp.ones(shape)
    return sample_valid(every, max(int(fraction * every.size), 1), uniforms=uniforms)

  def apply(prototypes: jax.Array, ctx: Context, draws: tuple[jax.Array, ...]):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    label, outputs = ctx.views[view].label, ctx.student(view).heads
    options: dict[str, Any] = dict(temperature=temperature, normalize=True)
    contrasts, regularizers = [], []
    for level, head in enumerate(heads):
      embedding, shape = outputs[head], outputs[head].shape[:3]
      shares = soft_label(label, size_of(embedding), num_classes)
      cells = cells_of(draws, level, shape)
      table = prototypes[level]
      contrasts.append(
        losses.soft_prototype_cross_entropy(embedding, shares, table, weights=cells, **options)
      )
      every = jnp.zeros(shape, jnp.int32)
      regularizers.append(
        losses.mean_similarity_regularizer(
          embedding, every, table, sign=regularizer_sign, **options
        )
      )
    contrast = weight * jnp.mean(jnp.stack(contrasts))
    regularizer = regularizer_weight * jnp.mean(jnp.stack(regularizers))
    return contrast + regularizer, {"contrast": contrast, "regularizer": regularizer}

  return Comparison(apply, draw, (start_step,))


def level_consistency(
  *,
  view: str,
  translated_view: str,
  start_step: int,
  heads: Sequence[str],
  translate: Callable[[Any, jax.Array], jax.Array],
  regress: Callable[[Any, int, jax.Array], jax.Array],
  temperature: float = 0.1,
  weight: float = 5.0,
) -> Comparison:
  """The translation of an image keeps its pixels' similarities to the prototypes, as the teacher has them.

  The teacher is a constant: the gradient reaches the auxiliary networks only.

  Args:
    view: The untranslated source view.
    translated_view: Name of the teacher's pass of its translation.
    start_step: First step of the comparison.
    heads: The head that gives the embeddings of each level.
    translate: `(auxiliary parameters, image) -> image`.
    regress: `(auxiliary parameters, level, embeddings) -> embeddings`, on the side of the translation.
    temperature: Divides the similarities of normalised embeddings.
    weight: Factor of the loss.
  """

  def apply(prototypes: jax.Array, ctx: Context, draws: None):
    del draws
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    reference = ctx.teacher(view).heads
    image = translate(ctx.auxiliary, ctx.views[view].image)
    outputs = ctx.teacher_through(translated_view, image).heads
    values = [
      losses.semantic_consistency(
        arrays.l2_normalize(regress(ctx.auxiliary, level, outputs[head])),
        arrays.l2_normalize(reference[head]),
        prototypes[level],
      )
      for level, head in enumerate(heads)
    ]
    loss = weight / temperature**2 * jnp.mean(jnp.stack(values))
    return loss, {"loss": loss}

  return Comparison(apply, phases=(start_step,))
