"""Toy inputs of cross-entropies, of the losses on predictions without labels, and of adversaries."""

import jax
import jax.numpy as jnp
from laws.kernels import (
  IGNORED,
  Kernel,
  P,
  W,
  X,
  Y,
  mean_over_labelled,
  mean_over_weights,
  plain_mean,
)

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(13), 4)
D_SOURCE, D_TARGET = jax.random.normal(jax.random.key(5), (2, 16, 2, 3, 1))
# Eight images of 2 x 3 cells and 4 x 6 pixels, three classes.
MAPS = jax.random.normal(KEYS[0], (8, 2, 3, 5))
LABELS = jax.random.randint(KEYS[1], (8, 4, 6), 0, 3).at[0, :2].set(255)
CELL_LABELS = jax.random.randint(KEYS[2], (8, 2, 3), 0, 3).at[1, 0, 0].set(255).at[0, 0, 0].set(1)
THINGS = (1, 2)
BAD_REDUCTION = ({"reduction": "sum"}, "reduction = 'sum'; expected 'mean' or 'none'")


def _mean_over_all(values, inputs):
  """The sum over labelled pixels, divided by the number of all pixels."""
  weights = jnp.where(inputs["labels"] < 3, inputs["weights"], 0.0)
  return jnp.sum(weights * values) / weights.size


def _cross_entropy(variant, mean_of, bad, **options) -> Kernel:
  return Kernel(
    of="weighted_cross_entropy",
    variant=variant,
    loss=lambda **inputs: losses.weighted_cross_entropy(**{**options, **inputs}),
    inputs=dict(logits=X[:, :3], labels=Y, weights=W),
    trains=("logits",),
    constants=("weights",),
    pixels=("logits", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    mean_of=mean_of,
    bad=bad,
  )


def _mean_over_things(values, inputs):
  things = jnp.isin(inputs["labels"], jnp.array(THINGS))
  return jnp.sum(values) / jnp.maximum(jnp.sum(things), 1)


KERNELS = [
  _cross_entropy("", _mean_over_all, bad=(({"labels": Y[:8]}, "labels has shape"), BAD_REDUCTION)),
  _cross_entropy(
    "valid",
    mean_over_labelled,
    bad=(({"denominator": "mean"}, "denominator = 'mean'; expected 'all' or 'valid'"),),
    denominator="valid",
  ),
  Kernel(
    of="image_class_cross_entropy",
    loss=losses.image_class_cross_entropy,
    inputs=dict(maps=MAPS, labels=LABELS),
    trains=("maps",),
    pixels=("maps", "labels"),
    mean_of=plain_mean,
    bad=(
      ({"maps": P}, r"maps has shape \(3, 5\); expected at least 3 axes"),
      ({"maps": LABELS}, "maps has dtype int32"),
      ({"labels": MAPS}, r"labels is float32\(8, 2, 3, 5\); expected integers"),
      ({"labels": LABELS[:4]}, r"labels has shape \(4, 4, 6\), but maps ask for \(8, 4, 6\)"),
      BAD_REDUCTION,
    ),
  ),
  Kernel(
    of="entropy",
    loss=losses.entropy,
    inputs=dict(logits=X, weights=W),
    trains=("logits",),
    constants=("weights",),
    pixels=("logits", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    mean_of=mean_over_weights,
    bad=(
      ({"weights": W[:8]}, "weights has shape"),
      ({"logits": Y}, "logits has dtype int32"),
      BAD_REDUCTION,
    ),
  ),
  Kernel(
    of="kl_consistency",
    loss=lambda **inputs: losses.kl_consistency(**inputs, temperature=2.0),
    inputs=dict(logits=X, teacher_logits=X[::-1], weights=W),
    trains=("logits",),
    constants=("teacher_logits", "weights"),
    pixels=("logits", "teacher_logits", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    mean_of=mean_over_weights,
    bad=(({"teacher_logits": X[:8]}, "teacher_logits has shape"), BAD_REDUCTION),
  ),
  Kernel(
    of="feature_distance",
    loss=lambda features, reference, labels, reduction="mean": losses.feature_distance(
      features, reference, labels, thing_classes=THINGS, num_classes=3, reduction=reduction
    ),
    inputs=dict(features=MAPS, reference=MAPS[::-1] + 1, labels=CELL_LABELS),
    trains=("features",),
    constants=("reference",),
    empty={"labels": jnp.zeros_like(CELL_LABELS)},
    ignored={"labels": CELL_LABELS.at[0].set(255)},
    mean_of=_mean_over_things,
    bad=(
      ({"features": LABELS}, "features has dtype int32"),
      ({"reference": MAPS[:4]}, r"reference has shape \(4, 2, 3, 5\)"),
      ({"labels": LABELS[:4]}, r"labels have shape \(4, 4, 6\)"),
      BAD_REDUCTION,
    ),
  ),
  Kernel(
    of="foundation_distance",
    loss=losses.foundation_distance,
    inputs=dict(features=X, reference=X[::-1] + 1, weights=W),
    trains=("features",),
    constants=("reference", "weights"),
    pixels=("features", "reference", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    mean_of=mean_over_weights,
    bad=(
      ({"features": Y}, "features has dtype int32"),
      ({"reference": X[:8]}, r"reference has shape \(8, 5\), but features ask for \(16, 5\)"),
      ({"weights": W[:8]}, r"weights has shape \(8,\)"),
      BAD_REDUCTION,
    ),
  ),
  Kernel(
    of="semantic_consistency",
    loss=losses.semantic_consistency,
    inputs=dict(embeddings=X, reference=X[::-1] + 1, prototypes=P, weights=W),
    trains=("embeddings",),
    constants=("reference", "prototypes", "weights"),
    pixels=("embeddings", "reference", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    mean_of=mean_over_weights,
    bad=(
      ({"embeddings": Y}, "embeddings has dtype int32"),
      ({"reference": X[:8]}, r"reference has shape \(8, 5\), but embeddings ask for \(16, 5\)"),
      ({"reference": X.astype(int)}, "reference has dtype int32"),
      ({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\)"),
      ({"weights": W[:8]}, r"weights has shape \(8,\)"),
      BAD_REDUCTION,
    ),
  ),
  Kernel(
    of="adversarial_generator_loss",
    loss=losses.adversarial_generator_loss,
    inputs=dict(target_map=D_TARGET),
    trains=("target_map",),
    pixels=("target_map",),
    bad=(({"target_map": Y}, "target_map has dtype int32; expected a float dtype"),),
  ),
  Kernel(
    of="adversarial_discriminator_loss",
    loss=losses.adversarial_discriminator_loss,
    inputs=dict(source_map=D_SOURCE, target_map=D_TARGET),
    trains=("source_map", "target_map"),
    pixels=("source_map", "target_map"),
    bad=(
      ({"source_map": Y}, "source_map has dtype int32; expected a float dtype"),
      ({"target_map": Y}, "target_map has dtype int32; expected a float dtype"),
    ),
  ),
  Kernel(
    of="least_squares_generator_loss",
    loss=losses.least_squares_generator_loss,
    inputs=dict(fake_map=MAPS),
    trains=("fake_map",),
    pixels=("fake_map",),
    bad=(({"fake_map": LABELS}, "fake_map has dtype int32"),),
  ),
  Kernel(
    of="least_squares_discriminator_loss",
    loss=losses.least_squares_discriminator_loss,
    inputs=dict(fake_map=MAPS, real_map=MAPS[..., :3] + 1),
    trains=("fake_map", "real_map"),
    pixels=("fake_map", "real_map"),
    bad=(
      ({"fake_map": LABELS}, "fake_map has dtype int32"),
      ({"real_map": LABELS}, "real_map has dtype int32"),
    ),
  ),
]
