"""What the `*_steps` files of the common base record, in the form the train step takes."""

from collections.abc import Sequence

import golden_cases
import jax.numpy as jnp
import numpy as np
import optax

from jax_uda.step import optimizer
from jax_uda.step.method import Method
from jax_uda.step.objective import no_draws
from jax_uda.views import classmix, color, strong
from jax_uda.views.self_training import Draws

# The tests compile without optimization. That rounds the passes of student and frozen encoder
# differently, and their feature distance, which is to be 0 at the start, has a gradient of length 1.
OPTIMIZED = {"xla_backend_optimization_level": 1}
JITTER = ("brightness", "contrast", "saturation", "hue")


def as_pixels(image: np.ndarray, mean: Sequence[float] = 0.0, std: Sequence[float] = 1.0):
  """What a batch must hold for a network that subtracts `mean` and divides by `std` to see `image`.

  Args:
    image: [..., D], standardised.
    mean: [D] or a number, in units of RGB in [0, 1].
    std: [D] or a number, in the same units.
  """
  return 255 * (jnp.asarray(image) * jnp.asarray(std) + jnp.asarray(mean))


def strong_draws(part: golden_cases.Case, name: str, gates: str = "") -> strong.StrongDraws:
  """The strong augmentation `draw_<name>_*`; factors are recorded only if their gate was open."""
  batch = len(part.src_label)
  factors = [part[f"draw_{name}_{n}_factor"] for n in JITTER if f"draw_{name}_{n}_factor" in part]
  order = part[f"draw_{name}_order"] if factors else np.arange(4)
  sigma = part.arrays.get(f"draw_{name}_sigma", 1.0)
  return strong.StrongDraws(
    jitter_gate=jnp.float32(part[f"draw_{gates}color_jitter_gate"]),
    blur_gate=jnp.float32(part[f"draw_{gates}blur_gate"]),
    color=color.ColorDraws(
      jnp.asarray(np.stack(factors, -1) if factors else np.ones((batch, 4)), jnp.float32),
      jnp.broadcast_to(jnp.asarray(order), (batch, 4)),
    ),
    sigma=jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (batch,)),
  )


def recorded_draws(part: golden_cases.Case) -> Draws:
  """What the reference drew in a step of self-training."""
  priority = np.ones((len(part.src_label), classmix.NUM_IDS), np.float32)
  classes = np.unique(part.src_label)
  for image, index in enumerate(part.draw_class_choice_index):
    priority[image, classes[index]] = 0
  mixed = strong_draws(part, "mix")
  return Draws(source=mixed, mixed=mixed, classes=jnp.asarray(priority))


def recipe_optimizer(
  case: golden_cases.Case,
) -> tuple[optax.Schedule, optax.GradientTransformation]:
  """The schedule and the SGD of the file."""
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.sgd_lr),
    num_steps=int(case.max_iters),
    warmup_steps=int(case.warmup_iters),
    warmup_ratio=float(case.warmup_ratio),
  )
  groups = (
    optimizer.Group("^(decoder|heads)", learning_rate=float(case.head_lr_mult)),
    optimizer.Group("norm", weight_decay=float(case.norm_decay_mult)),
  )
  tx = optimizer.build(
    schedule,
    name="sgd",
    momentum=float(case.sgd_momentum),
    weight_decay=float(case.sgd_weight_decay),
    groups=groups,
  )
  return schedule, tx


def replayed(method: Method) -> Method:
  """The method with recorded draws: those of a maker of views or a term are `batch["draws"][name]`."""
  recorded = lambda name: lambda key, batch: batch["draws"][name]
  replay = lambda parts: {
    name: part if part.draw is no_draws else part._replace(draw=recorded(name))
    for name, part in parts.items()
  }
  return method._replace(views=replay(method.views), terms=replay(method.terms))
