"""Predictions that a discriminator cannot tell apart by domain (AdaptSegNet, SPCL's warm-up)."""

from collections.abc import Callable
from typing import Any

import jax

from jax_uda.losses import adversarial_discriminator_loss, adversarial_generator_loss
from jax_uda.ops import resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result


def output_adversarial(
  *,
  discriminator: Callable[[Any, jax.Array], jax.Array],
  weight: float = 0.001,
  source_temperature: float = 1.0,
  source: str = "source",
  target: str = "target",
) -> Objective:
  """The student's loss against the discriminator, and the discriminator's own.

  Both are in one sum: the first has no gradient for the discriminator, `Context.player`, and the second
  none for the student.

  Args:
    discriminator: `(parameters, probability [B,H,W,C]) -> logits` of "this is the target".
    weight: Factor of the student's part.
    source_temperature: Divides the source logits that the discriminator sees. SPCL's code hands it
      the tempered source map (1.8) and the target map as it is.
    source: The view whose predictions are to be imitated.
    target: The other view.

  Source: golden `spcl/adv_warmup`.
  """
  constant = jax.lax.stop_gradient

  def apply(state, ctx: Context) -> Result:
    def probability(view: str, temperature: float = 1.0) -> jax.Array:
      size = ctx.views[view].image.shape[1:3]
      logits = resize.bilinear(ctx.student(view).logits, size, align_corners=True)
      return jax.nn.softmax(logits / temperature)

    maps = probability(source, source_temperature), probability(target)
    student = adversarial_generator_loss(discriminator(constant(ctx.player), maps[1]))
    own = adversarial_discriminator_loss(*(discriminator(ctx.player, constant(x)) for x in maps))
    return Result(weight * student + own, state, {"student": student, "discriminator": own})

  return Objective(lambda key: (), apply)
