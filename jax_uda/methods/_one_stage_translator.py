"""CONFETII's translator: CUT from the start, trained beside the student in the same run.

The generator G is an encoder E and a decoder. It turns a source image A into a fake. Cells of a target image
B are filled with the mean color, B', and the generator must restore the whole, idt = G(B'). With the
discriminator D,

  L_D = (mean D(fake)^2 + mean (D(B) - 1)^2) / 2
  L_G = mean (D(fake) - 1)^2 + NCE(A, fake) + NCE(B', idt) + mean (idt - B)^2

where NCE contrasts drawn rows of E's maps of a whole batch. E and NCE see standardised images, D sees
[-1, 1]. A step of D comes first; then one of the generator and its patch embedding, against the D just
updated, on L_G plus the gradient that the method's loss has for them, the consistency. That sees the
translation through one linear map per level, "affine", which belongs to the student's side.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import ArrayLike

from jax_uda import losses
from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods import _gan as gan
from jax_uda.models import translation
from jax_uda.models.encoders import imagenet
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.ops import pixels, resize
from jax_uda.ops.resize import size_of
from jax_uda.step import optimizer
from jax_uda.step.context import named_key
from jax_uda.step.method import Auxiliary, Batch

# The networks that train together, by the name of their optimizer's.
DISCRIMINATOR = ("discriminator",)
GENERATOR = ("generator", "patch_mlp")


@dataclasses.dataclass(frozen=True)
class OneStage:
  """Settings of the translator; the defaults are CONFETII's.

  Attributes:
    learning_rate: Learning rate of G, D and the patch embedding at the start (AdamW).
    decay_steps: The rate falls linearly, to 0 in the last of so many steps.
    weight_decay: Weight decay of all of them, and of the affine maps.
    generator_eps: Epsilon of the generator's AdamW. The published code divides the generator's gradients by
      the loss scale S of its mixed precision twice, which acts as an epsilon S times as large: with S at
      its first value, 65536, it is 6.5536e-4.
    num_patches: Most rows of the whole batch per map of a PatchNCE.
    temperature: Divides PatchNCE's similarities.
    drop_cell: Side in pixels of the cells of target images that are dropped or kept.
    drop_ratio: Share of them that is dropped.
    generator: Attributes of `translation.SplitGenerator`.
    discriminator: Attributes of `translation.PatchDiscriminator`.
    patch_mlp: Attributes of `translation.PatchProjection`.
  """

  learning_rate: float = 6e-5
  decay_steps: int = 40_000
  weight_decay: float = 0.01
  generator_eps: float = 1e-8
  num_patches: int = 256
  temperature: float = 0.07
  drop_cell: int = 10
  drop_ratio: float = 0.7
  generator: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  discriminator: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  patch_mlp: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Raises SettingError for a number out of range."""
    for name in ("decay_steps", "num_patches", "drop_cell"):
      if getattr(self, name) < 1:
        raise SettingError(name, f"= {getattr(self, name)} must be at least 1.")
    if not 0 <= self.drop_ratio < 1:
      raise SettingError("drop_ratio", f"= {self.drop_ratio} must be at least 0 and below 1.")


class Draws(struct.PyTreeNode):
  """The random numbers of one step of training.

  Attributes:
    source: For each of the generator's maps, rows of the PatchNCE of source images; see
      `translation.draw_rows`.
    target: For each map, rows of the PatchNCE of target images.
    cells: [B, rows, columns] uniform numbers that drop cells of target images.
    corners: [B, 2] int32 top left corners (y, x) of crops of the target, where it is larger.
  """

  source: tuple[jax.Array, ...]
  target: tuple[jax.Array, ...]
  cells: jax.Array
  corners: jax.Array


class OneStageTranslator:
  """The networks of the translation, and how they are trained beside a student."""

  def __init__(self, settings: OneStage, *, num_levels: int, embedding_dim: int, affine_start: int):
    """Builds the networks.

    Args:
      settings: Those of the translator.
      num_levels: Number of affine maps, one per level of the encoder.
      embedding_dim: Their side.
      affine_start: First step that trains them.

    Raises:
      SettingError: A network has no such attribute.
    """
    self.settings = settings
    build = lambda name, network, **options: registry.call(
      network, f"method.translator.{name}", **options | _lists_as_tuples(getattr(settings, name))
    )
    self.generator = build("generator", translation.SplitGenerator)
    self.discriminator = build("discriminator", translation.PatchDiscriminator, torch_init=True)
    self.patch_mlp = build("patch_mlp", translation.PatchProjection)
    self.affine = nn.Conv(
      embedding_dim, (1, 1), kernel_init=TORCH_WEIGHTS, bias_init=torch_uniform(embedding_dim)
    )
    self.embedding_dim, self.affine_start = embedding_dim, affine_start
    self.affines = tuple(f"affine_{level}" for level in range(num_levels))
    schedule: Any = self.rate
    adamw = functools.partial(
      optax.adamw, schedule, b1=0.5, b2=0.999, weight_decay=settings.weight_decay
    )
    self.optimizers = {
      "discriminator": (adamw(eps=1e-8), DISCRIMINATOR),
      "generator": (adamw(eps=settings.generator_eps), GENERATOR),
    }

  def rate(self, step: ArrayLike) -> jax.Array:
    """The learning rate of step 0, 1, …: 0 in the last of `decay_steps`, and after it."""
    left = jnp.maximum(self.settings.decay_steps - 1 - jnp.asarray(step), 0)
    return self.settings.learning_rate * left / self.settings.decay_steps

  def auxiliary(self, schedule: optax.Schedule) -> Auxiliary:
    """The networks as a step trains them, with the run's learning-rate schedule for the affine maps."""
    affine = optimizer.build(
      schedule, weight_decay=self.settings.weight_decay, start_steps={"": self.affine_start}
    )
    optimizers = {**self.optimizers, "affine": (affine, self.affines)}

    def init(key: jax.Array) -> gan.State:
      params = self._params(key)
      states = {name: tx.init(gan.part(params, nets)) for name, (tx, nets) in optimizers.items()}
      return {"params": params, "optimizers": states}

    def update(state: gan.State, grads: Any, draws: Draws, batch: Batch):
      state, metrics = self._train(state, grads, draws, batch)
      return gan.step(state, "affine", affine, gan.part(grads, self.affines)), metrics

    return Auxiliary(init, update, self.prepare, self.draw)

  def translate(self, params: Any, image: jax.Array) -> jax.Array:
    """Images [B,H,W,3], RGB in [0, 1], in the style of the target; `params` are the auxiliary parameters."""
    return gan.from_gan(self._generate(params, _standardised(image))[0])

  def regress(self, params: Any, level: int, embedding: jax.Array) -> jax.Array:
    """[B, h, w, A] -> [B, h, w, A], the affine map of a level."""
    return gan.apply(self.affine, params[self.affines[level]], embedding)

  def prepare(self, params: Any, batch: Batch) -> dict[str, Any]:
    """The batch with translated source images; the untranslated ones become `batch["source"]["raw"]`.

    Raises:
      SettingError: 4 does not divide the sides of the images.
    """
    raw = gan.source_of(batch)
    translated = jax.lax.stop_gradient(self.translate(params, raw))
    return {**batch, "source": {**batch["source"], "image": translated, "raw": raw}}

  def draw(self, key: jax.Array, batch: Batch) -> Draws:
    """Draws for one step."""
    image = jax.ShapeDtypeStruct(batch["source"]["image"].shape, jnp.float32)
    params = jax.eval_shape(self._params, key)
    maps = jax.eval_shape(self._encode, params, image)
    rows = lambda domain: translation.draw_rows(
      named_key(key, domain), maps, self.settings.num_patches
    )
    count, *sides, _ = image.shape
    grid = [max(side // self.settings.drop_cell, 1) for side in sides]
    cells = jax.random.uniform(named_key(key, "cells"), (count, *grid))
    return Draws(rows("source"), rows("target"), cells, gan.draw_corners(key, batch))

  def _params(self, key: jax.Array) -> dict[str, Any]:
    """Fresh parameters; the networks are convolutions, so the size of the image does not matter."""
    image = jnp.zeros((1, 32, 32, 3))
    parameters = lambda net, name, *args: net.init(named_key(key, name), *args)["params"]
    params = {
      "generator": parameters(self.generator, "generator", image),
      "discriminator": parameters(self.discriminator, "discriminator", image),
    }
    maps = self._encode(params, image)
    nowhere = [jnp.zeros(1, jnp.int32)] * len(maps)
    params["patch_mlp"] = parameters(self.patch_mlp, "patch_mlp", maps, nowhere)
    embedding = jnp.zeros((1, 1, 1, self.embedding_dim))
    return params | {name: parameters(self.affine, name, embedding) for name in self.affines}

  def _train(self, state: gan.State, grads: Any, draws: Draws, batch: Batch):
    """The steps of D, then of G and the patch embedding."""
    params, source = state["params"], _standardised(gan.source_of(batch))
    target = gan.target_of(batch, draws.corners)
    generate = lambda generator: self._generate({"generator": generator}, source)
    fake, pullback, keys = jax.vjp(generate, params["generator"], has_aux=True)
    fake_and_real = jnp.concatenate([fake, gan.to_gan(target)])

    def discriminator_loss(networks):
      scores = jnp.split(self._discriminate(networks, fake_and_real), 2)
      return losses.least_squares_discriminator_loss(*scores)

    tx, _ = self.optimizers["discriminator"]
    loss, slopes = jax.value_and_grad(discriminator_loss)(gan.part(params, DISCRIMINATOR))
    state = gan.step(state, "discriminator", tx, slopes)
    scores_of = functools.partial(self._discriminate, state["params"])
    generator_loss = functools.partial(
      self._generator_loss, scores_of, keys, _standardised(target), draws
    )
    (slopes, by_fake), parts = jax.grad(generator_loss, argnums=(0, 1), has_aux=True)(
      gan.part(params, GENERATOR), fake
    )
    (through_fake,) = pullback(by_fake)
    slopes = jax.tree.map(jnp.add, slopes, gan.part(grads, GENERATOR))
    slopes["generator"] = jax.tree.map(jnp.add, slopes["generator"], through_fake)
    tx, _ = self.optimizers["generator"]
    state = gan.step(state, "generator", tx, slopes)
    return state, {f"translator/{k}": v for k, v in {"discriminator": loss, **parts}.items()}

  def _generator_loss(
    self,
    scores_of: Callable[[jax.Array], jax.Array],
    source_keys: Sequence[jax.Array],
    target: jax.Array,
    draws: Draws,
    networks: Any,
    fake: jax.Array,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L_G, and its parts for the log.

    Args:
      scores_of: The discriminator.
      source_keys: The generator's maps of the source images.
      target: The target images, standardised.
      draws: Rows of the contrasts, and cells that are dropped.
      networks: The parameters that are trained.
      fake: The translated source images in [-1, 1], as another argument of the gradient.
    """
    masked = drop_cells(target, draws.cells, self.settings.drop_ratio)
    restored, target_keys = self._generate(networks, masked)
    restored = _as_input(restored)
    maps = self._encode(networks, jnp.concatenate([_as_input(fake), restored]))
    of_fake, of_restored = zip(*(jnp.split(x, 2) for x in maps), strict=True)
    contrast = functools.partial(self._patch_nce, networks)
    parts = contrast("patch_nce", of_fake, source_keys, draws.source)
    parts |= contrast("identity_nce", of_restored, target_keys, draws.target)
    parts["adversarial"] = losses.least_squares_generator_loss(scores_of(fake))
    parts["restoration"] = restoration_loss(restored, target)
    return sum(parts.values(), jnp.float32(0)), parts

  def _patch_nce(
    self, networks: Any, name: str, queries: Sequence[jax.Array], keys: Sequence[jax.Array], rows
  ) -> dict[str, jax.Array]:
    """The contrast of maps of generated images with those of the images that they come from, by map."""
    embed = lambda maps: gan.apply(self.patch_mlp, networks["patch_mlp"], maps, rows)
    pairs = zip(embed(queries), jax.lax.stop_gradient(embed(keys)), strict=True)
    loss = functools.partial(losses.patch_nce, temperature=self.settings.temperature)
    # One group of rows: each is contrasted with those of the whole batch.
    values = [loss(query[None], key[None]) for query, key in pairs]
    return {f"{name}_{i}": value / len(values) for i, value in enumerate(values)}

  def _generate(self, params: Any, image: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return gan.apply(self.generator, params["generator"], image)

  def _encode(self, params: Any, image: jax.Array) -> Sequence[jax.Array]:
    return gan.apply(self.generator, params["generator"], image, method="encode")

  def _discriminate(self, params: Any, image: jax.Array) -> jax.Array:
    return gan.apply(self.discriminator, params["discriminator"], image)


def drop_cells(image: jax.Array, uniforms: jax.Array, ratio: float) -> jax.Array:
  """The image with cells set to 0, the mean color of a standardised image.

  Args:
    image: [B, H, W, 3] floats.
    uniforms: [B, rows, columns] numbers in [0, 1); cells of those up to `ratio` are dropped. A cell covers
      the pixels (y, x) with floor(y rows / H) and floor(x columns / W).
    ratio: Share of the cells that is dropped.

  Source: golden `confetii/drop_mask`.
  """
  keep = (uniforms > ratio).astype(image.dtype)[..., None]
  return image * resize.nearest(keep, size_of(image))


def restoration_loss(restored: jax.Array, image: jax.Array) -> jax.Array:
  """The mean squared difference of two standardised images [B, H, W, 3]."""
  return jnp.mean((restored - image) ** 2)


def _lists_as_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
  """Attributes of a module, which must be hashable."""
  return {
    name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
  }


def _standardised(image: jax.Array) -> jax.Array:
  """What the generator sees of RGB in [0, 1]."""
  return pixels.standardise(image, imagenet.MEAN, imagenet.STD)


def _as_input(output: jax.Array) -> jax.Array:
  """What the generator sees of an output of its own, in [-1, 1]."""
  return _standardised(gan.from_gan(output))
