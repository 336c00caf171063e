"""The discriminator of segmentation maps with its Adam, which trains beside the student."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_uda.models.translation.output_discriminator import OutputDiscriminator
from jax_uda.step import optimizer
from jax_uda.step.method import Auxiliary


class Judge(NamedTuple):
  """A discriminator as a method needs it.

  Attributes:
    apply: `(parameters, probability [B,H,W,C]) -> logits` of "this is the target".
    auxiliary: The field `Method.auxiliary`.
  """

  apply: Callable[[Any, jax.Array], jax.Array]
  auxiliary: Callable[[optax.Schedule], Auxiliary]


def output_discriminator(
  num_classes: int, *, width: int, rate: Callable[[optax.Schedule], optax.Schedule]
) -> Judge:
  """AdaptSegNet's discriminator, trained by Adam with betas of 0.9 and 0.99.

  Args:
    num_classes: Channels of the maps, C.
    width: Channels of its first convolution.
    rate: From the run's learning-rate schedule to the discriminator's.
  """
  module = OutputDiscriminator(width=width)

  def apply(params: Any, probability: jax.Array) -> Any:
    return module.apply({"params": params}, probability)

  def auxiliary(schedule: optax.Schedule) -> Auxiliary:
    adam = optimizer.build(rate(schedule), name="adamw", weight_decay=0.0, b1=0.9, b2=0.99)

    def init(key: jax.Array) -> dict[str, Any]:
      params = module.init(key, jnp.zeros((1, 32, 32, num_classes)))["params"]
      return {"params": params, "opt_state": adam.init(params)}

    def update(state, grads, draws, batch):
      del draws, batch
      updates, opt_state = adam.update(grads, state["opt_state"], state["params"])
      params = optax.apply_updates(state["params"], updates)
      return {"params": params, "opt_state": opt_state}, {}

    return Auxiliary(init, update)

  return Judge(apply, auxiliary)
