"""The training stages of SPCL as published (Xie et al., 2021): no teacher, target labels from files.

  spcl_warm_up        source cross-entropy, and predictions that a discriminator cannot tell apart
  spcl_contrast       source cross-entropy, and similarities to prototypes of both domains' pixels
  spcl_self_training  cross-entropy on the target's pseudo-labels alone

The pseudo-labels are written between them, by stages with `task="pseudo_label"`. With `groups=4` losses
are averaged over four parts of the batch that do not share prototypes, as on the reference's four
replicas. The color jitter is `views.color`; the reference uses torchvision's.
"""

import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.common.registry import SettingError
from jax_uda.methods._output_discriminator import output_discriminator
from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
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
    task: The number of classes.
    temperature: Divides the source logits of the cross-entropy.
    adversarial_weight: Factor of the student's loss against the discriminator.
    temper_discriminator: Whether the discriminator sees source maps divided by `temperature`, but
      target maps as they are (the reference); else both as they are.
    discriminator_width: Channels of its first convolution.
    discriminator_rate: Its learning rate (Adam) as a multiple of the run's: 1e-4 / 2.5e-4.
    groups: Splits the batch into this many groups and averages their losses, as the reference's
      per-GPU losses.
    jitter_strength: Largest relative change of the source images' brightness, contrast and
      saturation; that of the hue is 0.4 times as large.
  """
  rate = lambda schedule: lambda step: discriminator_rate * schedule(step)
  judge = output_discriminator(task.num_classes, width=discriminator_width, rate=rate)
  terms = {
    "source": _cross_entropy("source", temperature, groups),
    "adversarial": objectives.output_adversarial(
      discriminator=judge.apply,
      weight=adversarial_weight,
      source_temperature=temperature if temper_discriminator else 1.0,
    ),
  }
  views = _views(jitter_strength, jittered="source", target_label=False)
  return Method(views, terms, auxiliary=judge.auxiliary, unlabelled=("target",))


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
  source_pass: bool = True,
  jitter_strength: float = 0.5,
) -> Method:
  """The contrastive stage; needs `config.data.pseudo_labels`.

  Args:
    task: The number of classes.
    feature_dim: Channels of the decoder's map before its classifier.
    temperature: Divides the source logits of the cross-entropy.
    contrast_temperature: Divides the similarities.
    contrast_weight: Factor of the contrast.
    decay: Weight of the old prototypes; the batch has the rest.
    keep_absent: Whether prototypes of classes that a batch lacks stay; the reference lets them vanish.
    groups: Splits the batch into this many groups, each with its own prototypes, and averages their
      losses.
    source_pass: Whether to start from the prototypes of the whole source, by one pass before the first
      step.
    jitter_strength: As in `spcl_warm_up`.
  """
  terms = {
    "source": _cross_entropy("source", temperature, groups),
    "similarity": objectives.similarity_contrast(
      groups=groups,
      decay=decay,
      keep_absent=keep_absent,
      temperature=contrast_temperature,
      weight=contrast_weight,
      source_pass=source_pass,
      num_classes=task.num_classes,
      dim=feature_dim,
    ),
  }
  return Method(_views(jitter_strength, jittered="source", target_label=True), terms)


def spcl_self_training(task: Task, *, groups: int = 1, jitter_strength: float = 0.5) -> Method:
  """The last stage; needs `config.data.pseudo_labels`.

  Args:
    task: Not used; every method takes it.
    groups: Splits the batch into this many groups and averages their losses.
    jitter_strength: Largest relative change of the target images' jitter.
  """
  del task
  views = _views(jitter_strength, jittered="target", target_label=True)
  return Method(views, {"target": _cross_entropy("target", 1.0, groups)})


def _cross_entropy(view: str, temperature: float, groups: int) -> objectives.Objective:
  return objectives.cross_entropy(
    view=view,
    groups=groups,
    temperature=temperature,
    denominator="valid",
    align_corners=True,
  )


def _views(strength: float, *, jittered: str, target_label: bool) -> dict[str, ViewMaker]:
  """Makes `source` and `target`, one of them jittered; labels of the target come with the batch."""

  def draw(key: jax.Array, batch: Batch) -> color.ColorDraws:
    draws = color.draw(named_key(key, "jitter"), len(batch["source"]["image"]), strength)
    middle = jnp.array([1.0, 1.0, 1.0, 0.0])
    return draws.replace(factors=middle + (draws.factors - middle) * jnp.array(JITTER))

  def target_view(batch: Batch) -> View:
    image, label = batch["target"]["image"], batch["target"].get("label")
    if not target_label:
      label = jnp.full(image.shape[:3], 255, jnp.int32)
    elif label is None:
      raise SettingError(
        "data.pseudo_labels", "is missing: the stage whose pseudo-labels the target is to have."
      )
    return View(image, label.astype(jnp.int32), jnp.ones(label.shape, jnp.float32))

  def make(draws: color.ColorDraws, batch: Batch, teacher, views) -> dict[str, View]:
    del teacher, views
    both = {"source": self_training.source_view(batch), "target": target_view(batch)}
    if strength:
      view = both[jittered]
      both[jittered] = view.replace(image=color.jitter(view.image, draws))
    return both

  return {"spcl": ViewMaker(make, draw)}
