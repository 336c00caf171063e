"""VFM-UDA++ (Englert and Dubbelman, ICCV Workshops 2025): VFM-UDA, and a distance to a foundation model.

One step: cross-entropy on strongly augmented source images, on the ClassMix image, and on target images of
which seven blocks in ten are hidden; and, on both domains, the distance of a projection of the student's
coarsest map from the map of a frozen foundation model. Pseudo-labels average an image and its mirror
image. Extra cost beside DACS: one teacher pass, three student passes and two of the foundation model.
`config.gradient_by_groups` takes the five losses' gradients one after the other, in the memory of one.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import struct

from jax_uda import objectives
from jax_uda.common import registry
from jax_uda.models import catalog
from jax_uda.models.encoders import dinov2
from jax_uda.models.encoders.plain_vit import PlainViT
from jax_uda.models.foundation import FoundationModel
from jax_uda.models.heads.distance import DistanceHead
from jax_uda.step.context import Pass, Passes, View, named_key
from jax_uda.step.method import Batch, Foundation, Method, Task, ViewMaker
from jax_uda.step.objective import Objective
from jax_uda.views import classmix, self_training, torchvision_color, vfm_uda
from jax_uda.views.torchvision_color import Jitter

# The published augmentation of source images.
SOURCE_JITTER = Jitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.4, probability=0.8)
GRAY_PROBABILITY = 0.1
SOURCE_MAX_SIGMA = 3.0


class Draws(struct.PyTreeNode):
  """Every random number of a step but for the hidden blocks, which the network draws.

  Attributes:
    classes: [B, 256] priorities of ClassMix.
    source: Jitter and blur of the source images, for the loss on the source alone.
    source_gray: [B] bool, which of them become gray.
    weak_target: Weak color jitter of the target images before mixing.
    mixed: Jitter and blur of the mixed images.
    masked: Jitter and blur of the images whose blocks are hidden.
    distance_source: Weak color jitter of the source images that are compared with the foundation model.
    distance_target: Weak color jitter of the target images that are compared with it.
  """

  classes: jax.Array
  source: vfm_uda.JitterBlur
  source_gray: jax.Array
  weak_target: torchvision_color.JitterDraws
  mixed: vfm_uda.JitterBlur
  masked: vfm_uda.JitterBlur
  distance_source: torchvision_color.JitterDraws
  distance_target: torchvision_color.JitterDraws


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundationSettings:
  """Which foundation model is compared with.

  Attributes:
    weights: Its weight file, or "random".
    encoder: Its name, a plain Vision Transformer of `catalog.ENCODERS`.
    options: Its options.
    size: The shorter side in pixels to which it resizes images.
  """

  weights: str = ""
  encoder: str = "dinov2_vitl14_reg"
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  size: int = 406

  def make(self, **options: Any) -> FoundationModel:
    """Builds the model.

    Raises:
      SettingError: The encoder is unknown, or no plain Vision Transformer.
    """
    make = registry.choose(catalog.ENCODERS, self.encoder, ("method", "foundation", "encoder"))
    cls = make.func if isinstance(make, functools.partial) else make
    if not (isinstance(cls, type) and issubclass(cls, PlainViT)):
      raise registry.SettingError(
        "method.foundation.encoder",
        f"= {self.encoder!r} is no plain Vision Transformer; choose a dinov2_…, dinov3_… or lingbot_….",
      )
    # The image has been resized already.
    fitted = {"enlarge": 1.0} if issubclass(cls, dinov2.DINOv2) else {}
    options = {**fitted, **self.options, **options}
    encoder: Any = registry.call(make, ("method", "foundation", "options"), **options)
    return FoundationModel(encoder, self.size)


class _Views(NamedTuple):
  """The views and their random numbers; the settings are arguments of `vfm_uda_plus`."""

  pseudo_threshold: float
  strong_source: bool
  weak: Jitter
  strong: Jitter
  blur_probability: float
  groups: int

  def draw(self, key: jax.Array, batch: Batch) -> Draws:
    """Draws the random numbers of a step."""
    batch_size = batch["source"]["image"].shape[0]
    jitter = functools.partial(vfm_uda.draw_jitter, key)
    both = lambda name: vfm_uda.draw_both(key, name, batch, self.strong, self.blur_probability)
    probability, max_sigma = self.blur_probability, SOURCE_MAX_SIGMA
    return Draws(
      classes=classmix.draw(named_key(key, "classes"), batch_size),
      source=vfm_uda.JitterBlur(
        jitter("source", batch, SOURCE_JITTER if self.strong_source else self.weak),
        vfm_uda.draw_blur(key, "source", batch, probability, max_sigma=max_sigma),
      ),
      source_gray=jax.random.bernoulli(named_key(key, "gray"), GRAY_PROBABILITY, (batch_size,)),
      weak_target=jitter("weak/target", batch, self.weak),
      mixed=both("mixed"),
      masked=both("masked"),
      distance_source=jitter("distance/source", batch, self.weak),
      distance_target=jitter("distance/target", batch, self.weak),
    )

  def make(
    self, draws: Draws, batch: Batch, teacher: Passes, views: dict[str, View]
  ) -> dict[str, View]:
    """Makes the views; a method may leave out those of the distances."""
    del views
    source = vfm_uda.source_view(batch)
    target = vfm_uda.target_view(batch, teacher, self.pseudo_threshold, self.groups)
    weak_target = vfm_uda.jittered(target, draws.weak_target)
    mixed = self_training.mixed_view(source, weak_target, draws.classes, groups=self.groups)
    return {
      "source": self._augmented_source(source, draws),
      "target": target,
      "mixed": vfm_uda.augmented(mixed, draws.mixed),
      "masked": vfm_uda.augmented(target, draws.masked),
      "plain_source": source,
      "distance_source": vfm_uda.jittered(source, draws.distance_source),
      "distance_target": vfm_uda.jittered(target, draws.distance_target),
    }

  def _augmented_source(self, source: View, draws: Draws) -> View:
    source = vfm_uda.jittered(source, draws.source.jitter)
    if not self.strong_source:
      return source
    image = torchvision_color.grayscale(source.image, draws.source_gray)
    image = torchvision_color.gaussian_blur(image, draws.source.blur, SOURCE_MAX_SIGMA)
    return source.replace(image=image)


def vfm_uda_plus(
  task: Task,
  *,
  pseudo_threshold: float = 0.968,
  mask_ratio: float = 0.7,
  mask_block: int = 64,
  distance_weights: tuple[float, float] = (0.1, 0.1),
  foundation: Mapping[str, Any] | None = None,
  strong_source: bool = True,
  weak: Jitter = vfm_uda.WEAK,
  strong: Jitter = vfm_uda.STRONG,
  blur_probability: float = 0.5,
  groups: int = 1,
) -> Method:
  """VFM-UDA++. The encoder must hide blocks: one of the `dinov2_…_adapter`.

  Args:
    task: Not used; every method takes it.
    pseudo_threshold: A pseudo-label is confident if its probability is at least this.
    mask_ratio: Share of the blocks that the third loss hides.
    mask_block: Side of a block in pixels of the image as the encoder resizes it.
    distance_weights: Factors of the distance to the foundation model on source and target; 0: none.
    foundation: Fields of `FoundationSettings` that differ from its defaults.
    strong_source: Whether the source images are strongly augmented, or weakly jittered.
    weak: Jitter of the target images before mixing and of images that are compared. The source part of
      mixed images is not jittered.
    strong: Jitter of mixed and masked images.
    blur_probability: Share of the source, mixed and masked images that are blurred.
    groups: Splits the batch into so many parts with shares of confident pixels, classes to mix and
      averages of the losses of their own, as the reference's devices.
  """
  del task
  if len(distance_weights) != 2:
    raise registry.SettingError(
      "method.distance_weights",
      f"= {distance_weights!r} must be two numbers, for source and target.",
    )
  model = registry.call(FoundationSettings, ("method", "foundation"), **(foundation or {}))
  weights: dict[str, float] = dict(zip(("source", "target"), distance_weights, strict=True))
  compared = [domain for domain in weights if weights[domain]]
  views = _Views(pseudo_threshold, strong_source, weak, strong, blur_probability, groups)
  cross_entropy = functools.partial(objectives.cross_entropy, groups=groups)
  terms: dict[str, Objective[Any]] = {
    "source": cross_entropy(view="source", denominator="valid"),
    "mixed": cross_entropy(view="mixed"),
    "masked": cross_entropy(view="masked"),
  }
  plain = {"source": "plain_source", "target": "target"}  # as the foundation model sees them
  for domain in compared:
    terms[f"distance_{domain}"] = objectives.foundation_distance(
      view=f"distance_{domain}", reference_view=plain[domain], weight=weights[domain]
    )
  hidden = {"mask_ratio": mask_ratio, "mask_block": mask_block}
  logits = ("decoder",)
  head = lambda dtype: DistanceHead(model.make().encoder.embed_dim, dtype)
  return Method(
    views={"vfm_uda_plus": ViewMaker(views.make, views.draw)},
    terms=terms,
    heads={"distance": head} if compared else {},
    passes=lambda phase: {
      "source": Pass(logits),
      "mixed": Pass(logits),
      "masked": Pass(logits, inputs=hidden),
      # The reference runs the whole network: that moves the statistics of the decoder's norms.
      **{f"distance_{domain}": Pass() for domain in compared},
    },
    teacher_outputs={"target": logits, "mirrored_target": logits},
    foundation=Foundation(model.make, model.encoder, model.weights) if compared else None,
  )
