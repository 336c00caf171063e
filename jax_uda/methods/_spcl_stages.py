"""The training stages of SPCL as published (Xie et al., 2021): no teacher, target labels from files.

  spcl_warm_up        source cross-entropy, and predictions that a discriminator cannot tell apart
  spcl_contrast       source cross-entropy, and similarities to prototypes of both domains' pixels
  spcl_self_training  cross-entropy on the target's pseudo-labels alone

The pseudo-labels are written between them, by stages with `task="pseudo_label"`. With `groups=4` losses
are averaged over four parts of the batch that do not share prototypes, as on the reference's four
replicas. The colour jitter is `augment.color`'s, the reference's that of torchvision.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_uda import objectives
from jax_uda.models.translation.output_discriminator import OutputDiscriminator
from jax_uda.step import optimizer
from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch, Method, Player, Task
from jax_uda.views import color, self_training

# Relative strength of brightness, contrast, saturation and hue.
JITTER = (1.0, 1.0, 1.0, 0.4)


def spcl_warm_up(
  task: Task,
  *,
  temperature: float = 1.8,
  adversarial_weight: float = 0.001,
  temper_discriminator: bool = True,
  discriminator_width: int = 64,
  discriminator_rate: float = 0.4,
  groups: int = 1,
  jitter_strength: float = 0.5,
) -> Method:
  """The adversarial warm-up.

  Args:
    task: The classes and the standardisation.
    temperature: Divides the source logits of the cross-entropy.
    adversarial_weight: Of the student's part in the game.
    temper_discriminator: The discriminator sees source maps divided by `temperature`, too, but target
      maps as they are (the reference); else neither is.
    discriminator_width: Channels of its first convolution.
    discriminator_rate: Its learning rate (Adam) as a multiple of the run's: 1e-4 / 2.5e-4.
    groups: Parts of the batch whose losses are averaged.
    jitter_strength: Of the source images' brightness, contrast and saturation; the hue's is 0.4 of it.
  """
  module = OutputDiscriminator(width=discriminator_width)

  def player(schedule: optax.Schedule) -> Player:
    rate = lambda step: discriminator_rate * schedule(step)
    adam = optimizer.build(rate, name="adamw", weight_decay=0.0, b1=0.9, b2=0.99)

    def init(key: jax.Array) -> dict[str, Any]:
      params = module.init(key, jnp.zeros((1, 32, 32, task.num_classes)))["params"]
      return {"params": params, "opt_state": adam.init(params)}

    def update(state, grads, draws, batch):
      del draws, batch
      updates, opt_state = adam.update(grads, state["opt_state"], state["params"])
      params = optax.apply_updates(state["params"], updates)
      return {"params": params, "opt_state": opt_state}, {}

    return Player(init, update)

  terms = {
    "source": _cross_entropy("source", temperature, groups),
    "adversarial": objectives.output_adversarial(
      discriminator=lambda params, x: module.apply({"params": params}, x),
      weight=adversarial_weight,
      source_temperature=temperature if temper_discriminator else 1.0,
    ),
  }
  draw, views = _make_views(task, jitter_strength, jittered="source", target_label=False)
  return Method(draw, views, objectives.chain(**terms), player=player, unlabelled=("target",))


def spcl_contrast(
  task: Task,
  *,
  feature_dim: int = 2048,
  temperature: float = 1.8,
  contrast_temperature: float = 100.0,
  contrast_weight: float = 1.0,
  decay: float = 0.1,
  keep_absent: bool = False,
  groups: int = 1,
  survey: bool = True,
  jitter_strength: float = 0.5,
) -> Method:
  """The contrastive stage; needs `config.data.pseudo_labels`.

  Args:
    task: The classes and the standardisation.
    feature_dim: Channels of the decoder's map before its classifier.
    temperature: Divides the source logits of the cross-entropy.
    contrast_temperature: As the next four, see `objectives.similarity_contrast`.
    contrast_weight: See there.
    decay: See there.
    keep_absent: See there; the reference lets absent classes vanish.
    groups: See there; also of the cross-entropy.
    survey: Start from the prototypes of the whole source, by one pass before the first step.
    jitter_strength: See `spcl_warm_up`.
  """
  size = dict(num_classes=task.num_classes, dim=feature_dim)
  terms = {
    "source": _cross_entropy("source", temperature, groups),
    "similarity": objectives.similarity_contrast(
      groups=groups,
      decay=decay,
      keep_absent=keep_absent,
      temperature=contrast_temperature,
      weight=contrast_weight,
      **size,
    ),
  }
  surveys = {"similarity": objectives.prototype_survey(**size)} if survey else {}
  draw, views = _make_views(task, jitter_strength, jittered="source", target_label=True)
  return Method(draw, views, objectives.chain(**terms), surveys=surveys)


def spcl_self_training(task: Task, *, groups: int = 1, jitter_strength: float = 0.5) -> Method:
  """The last stage; needs `config.data.pseudo_labels`.

  Args:
    task: The classes and the standardisation.
    groups: Parts of the batch whose losses are averaged.
    jitter_strength: Of the target images, see `spcl_warm_up`.
  """
  draw, views = _make_views(task, jitter_strength, jittered="target", target_label=True)
  return Method(draw, views, objectives.chain(target=_cross_entropy("target", 1.0, groups)))


def _cross_entropy(view: str, temperature: float, groups: int) -> objectives.Objective:
  settings = dict(temperature=temperature, denominator="valid", align_corners=True)
  return objectives.cross_entropy(view=view, groups=groups, **settings)


def _make_views(
  task: Task, strength: float, *, jittered: str, target_label: bool
) -> tuple[Callable, Callable]:
  """`draw` and `views` of a method with source and target; the latter's labels are from the batch."""

  def draw(key: jax.Array, batch: Batch) -> color.ColorDraws:
    draws = color.draw(named_key(key, "jitter"), len(batch["source"]["image"]), strength)
    middle = jnp.array([1.0, 1.0, 1.0, 0.0])
    return draws.replace(factors=middle + (draws.factors - middle) * jnp.array(JITTER))

  def target_view(batch: Batch) -> View:
    image, label = batch["target"]["image"], batch["target"].get("label")
    if not target_label:
      label = jnp.full(image.shape[:3], 255, jnp.int32)
    elif label is None:
      raise ValueError(
        "config.data.pseudo_labels is missing: the stage whose pseudo-labels the target is to have."
      )
    return View(image, label.astype(jnp.int32), jnp.ones(label.shape, jnp.float32))

  def views(draws: color.ColorDraws, batch: Batch, teacher) -> dict[str, View]:
    del teacher
    found = {"source": self_training.source_view(batch), "target": target_view(batch)}
    view = found[jittered]
    if not strength:
      return found
    return {**found, jittered: view.replace(image=color.jitter(view.image, draws))}

  return draw, views
