"""Predictions that a discriminator cannot tell apart by domain (AdaptSegNet, SPCL's warm-up)."""

from collections.abc import Callable
from typing import Any

import jax

from jax_uda.losses import (
  adversarial_discriminator_loss,
  adversarial_generator_loss,
  least_squares_discriminator_loss,
  least_squares_generator_loss,
)
from jax_uda.objectives._entropy import scaled_size
from jax_uda.ops import resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def output_adversarial(
  *,
  discriminator: Callable[[Any, jax.Array], jax.Array],
  weight: float = 0.001,
  source_temperature: float = 1.0,
  least_squares: bool = False,
  scale: float = 1.0,
  align_corners: bool = True,
  source: str = "source",
  target: str = "target",
) -> Objective[tuple[()]]:
  """The student's loss against the discriminator, and the discriminator's own.

  Both are in one sum: the first has no gradient for the discriminator, whose parameters are
  `Context.auxiliary`, and the second none for the student.

  Args:
    discriminator: `(parameters, probability [B,H,W,C]) -> logits` of "this is the target".
    weight: Factor of the student's part.
    source_temperature: Divides the source logits that the discriminator sees. SPCL's code passes it
      the tempered source map (1.8) and the target map as it is.
    least_squares: Whether both losses are squared distances from the labels 0 and 1 (HRDA's code)
      instead of cross-entropies.
    scale: Size of the maps as a fraction of the image's; HRDA's code has 0.5.
    align_corners: Corner alignment when logits are resized to that size.
    source: The view whose predictions are to be imitated.
    target: The other view.

  Source: golden `spcl/adv_warmup`.
  """
  constant = jax.lax.stop_gradient
  generator_loss, discriminator_loss = adversarial_generator_loss, adversarial_discriminator_loss
  if least_squares:
    # These call 1 what is to be imitated; here it is the source, whose label is 0.
    generator_loss = lambda target_map: least_squares_generator_loss(1 - target_map)
    discriminator_loss = least_squares_discriminator_loss

  def loss(ctx: Context):
    def probability(view: str, temperature: float = 1.0) -> jax.Array:
      size = scaled_size(ctx.views[view].image, scale)
      logits = resize.bilinear(ctx.student(view).decoded.logits, size, align_corners)
      return jax.nn.softmax(logits / temperature)

    source_map, target_map = probability(source, source_temperature), probability(target)
    student = generator_loss(discriminator(constant(ctx.auxiliary), target_map))
    judged = (discriminator(ctx.auxiliary, constant(x)) for x in (source_map, target_map))
    domains = discriminator_loss(*judged)
    return weight * student + domains, {"student": student, "discriminator": domains}

  return stateless(loss)
