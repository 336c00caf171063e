"""CUT (Park et al., ECCV 2020) as auxiliary networks: source images in the style of the target.

The generator G turns a source image A into a fake, and a target image B into an identity. With the
discriminator D and the patch embedding F,

  L_D = (mean D(fake)^2 + mean (D(B) - 1)^2) / 2
  L_G = mean (D(fake) - 1)^2 + (NCE(A, fake) + NCE(B, identity)) / 2

A step of D comes first; then one of G and F, against the D just updated, on L_G plus the gradient that
the method's loss has for G. In CONFETI that is the semantic consistency, seen through `reg_proj`, a linear
map that belongs to the student's side and has its own AdamW.

`add_translated` puts any method's source images into the style of the target.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jax_uda import losses
from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods import _gan as gan
from jax_uda.models import translation
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.step import optimizer
from jax_uda.step.context import named_key
from jax_uda.step.method import Auxiliary, Batch, Method, Task

# The networks that train together, by the name of their optimizer's.
DISCRIMINATOR = ("discriminator",)
GENERATOR = ("generator", "patch_mlp")


class Draws(struct.PyTreeNode):
  """The random numbers of one step of training.

  Attributes:
    source: For each map of the generator, positions of the PatchNCE of source images; see
      `translation.draw_positions`.
    target: For each map, positions of the PatchNCE of target images.
    corners: [B, 2] int32 top left corners (y, x) of crops of the target, where it is larger.
  """

  source: tuple[jax.Array, ...]
  target: tuple[jax.Array, ...]
  corners: jax.Array


class Translator:
  """The networks of unpaired translation, and how they are trained beside a student."""

  def __init__(
    self,
    *,
    train: bool = True,
    embedding_dim: int = 0,
    learning_rate: float = 2e-4,
    decay: Sequence[int] = (),
    head_learning_rate: float = 10.0,
    weight_decay: float = 0.01,
    num_patches: int = 256,
    temperature: float = 0.07,
    negatives: Literal["image", "batch"] = "image",
    generator: Mapping[str, Any] | None = None,
    discriminator: Mapping[str, Any] | None = None,
    patch_mlp: Mapping[str, Any] | None = None,
  ):
    """Builds the networks; the defaults are those of CUT and CONFETI.

    Args:
      train: Whether the networks train; otherwise there is a generator alone, and it stays as it is.
      embedding_dim: Side of `reg_proj`, which trained translators have; 0 = none.
      learning_rate: Learning rate of G, D and F (Adam).
      decay: (first, last) step between which the rate falls linearly to 0; empty = never.
      head_learning_rate: Multiplies the run's schedule for `reg_proj`.
      weight_decay: Weight decay of `reg_proj`; the others have none.
      num_patches: Most positions per map of a PatchNCE.
      temperature: Divides PatchNCE's similarities.
      negatives: See `losses.patch_nce`.
      generator: Attributes of `translation.Generator`.
      discriminator: Attributes of `translation.PatchDiscriminator`.
      patch_mlp: Attributes of `translation.PatchMLP`.
    """
    self.train, self.num_patches = train, num_patches
    self.patch_nce = functools.partial(
      losses.patch_nce, temperature=temperature, negatives=negatives
    )
    options: dict[str, Any] = dict(generator or {})
    if "nce_layers" in options:
      options["nce_layers"] = tuple(options["nce_layers"])
    self.generator = translation.Generator(**options)
    self.discriminator = translation.PatchDiscriminator(**(discriminator or {}))
    self.patch_mlp = translation.PatchMLP(**(patch_mlp or {}))
    self.reg_proj = nn.Dense(
      embedding_dim,
      kernel_init=TORCH_WEIGHTS,
      bias_init=torch_uniform(max(embedding_dim, 1)),
    )
    self.head_rate, self.weight_decay = head_learning_rate, weight_decay
    begin, end = decay or (0, 0)
    rate = optax.linear_schedule(learning_rate, 0.0, end - begin, begin) if end else learning_rate
    self.adam = optax.adam(rate, b1=0.5, b2=0.999, eps=1e-8)

  def auxiliary(self, schedule: optax.Schedule) -> Auxiliary:
    """The networks as a step trains them, with the run's learning-rate schedule for `reg_proj`."""
    if not self.train:
      unchanged = lambda state, grads, draws, batch: (state, {})
      return Auxiliary(lambda key: {"params": self._params(key)}, unchanged, self.prepare)
    rate = lambda step: self.head_rate * schedule(step)
    reg_proj = optimizer.build(rate, weight_decay=self.weight_decay)
    optimizers = {"discriminator": (self.adam, DISCRIMINATOR), "generator": (self.adam, GENERATOR)}
    if self.reg_proj.features:
      optimizers["reg_proj"] = (reg_proj, ("reg_proj",))

    def init(key: jax.Array) -> gan.State:
      params = self._params(key)
      states = {name: tx.init(gan.part(params, names)) for name, (tx, names) in optimizers.items()}
      return {"params": params, "optimizers": states}

    def update(
      state: gan.State, grads: Any, draws: Any, batch: Batch
    ) -> tuple[gan.State, dict[str, Any]]:
      state, metrics = self._train(state, grads, draws, batch)
      if "reg_proj" in optimizers:
        state = gan.step(state, "reg_proj", reg_proj, gan.part(grads, ("reg_proj",)))
      return state, metrics

    return Auxiliary(init, update, self.prepare, self.draw)

  def translate(self, params: Any, image: jax.Array) -> jax.Array:
    """Images [B,H,W,3], RGB in [0, 1], in the style of the target; `params` are the auxiliary parameters."""
    return gan.from_gan(self._generate(params["generator"], gan.to_gan(image)))

  def regress(self, params: Any, embedding: jax.Array) -> jax.Array:
    """[..., A] -> [..., A], `reg_proj`."""
    return gan.apply(self.reg_proj, params["reg_proj"], embedding)

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
    source = batch["source"]["image"]
    params = jax.eval_shape(self._params, key)["generator"]
    maps = jax.eval_shape(self._encode, params, jax.ShapeDtypeStruct(source.shape, jnp.float32))
    positions = lambda domain: translation.draw_positions(
      named_key(key, domain), maps, self.num_patches
    )
    return Draws(positions("source"), positions("target"), gan.draw_corners(key, batch))

  def _params(self, key: jax.Array) -> dict[str, Any]:
    """Fresh parameters; the networks are convolutions, so the size of the image does not matter."""
    image = jnp.zeros((1, 32, 32, 3))
    parameters = lambda net, name, *args, **options: net.init(
      named_key(key, name), *args, **options
    )["params"]
    params = {"generator": parameters(self.generator, "generator", image)}
    if not self.train:
      return params
    params["discriminator"] = parameters(self.discriminator, "discriminator", image)
    maps = self._encode(params["generator"], image)
    nowhere = [jnp.zeros(1, jnp.int32)] * len(maps)
    params["patch_mlp"] = parameters(self.patch_mlp, "patch_mlp", maps, nowhere)
    if self.reg_proj.features:
      params["reg_proj"] = parameters(
        self.reg_proj, "reg_proj", jnp.zeros((1, self.reg_proj.features))
      )
    return params

  def _train(self, state: gan.State, grads: Any, draws: Draws, batch: Batch):
    """The steps of D, then of G and F."""
    params = state["params"]
    both = jnp.concatenate([gan.source_of(batch), gan.target_of(batch, draws.corners)])
    images, count = gan.to_gan(both), len(both) // 2
    fake = self._generate(params["generator"], images)[:count]
    fake_and_real = jax.lax.stop_gradient(jnp.concatenate([fake, images[count:]]))

    def discriminator_loss(networks):
      scores = self._discriminate(networks["discriminator"], fake_and_real)
      return losses.least_squares_discriminator_loss(scores[:count], scores[count:])

    loss, slopes = jax.value_and_grad(discriminator_loss)(gan.part(params, DISCRIMINATOR))
    state = gan.step(state, "discriminator", self.adam, slopes)
    updated = state["params"]["discriminator"]

    def generator_loss(networks):
      translations = self._generate(networks["generator"], images)
      scores = self._discriminate(updated, translations[:count])
      parts = {"adversarial": losses.least_squares_generator_loss(scores)}
      maps = [self._encode(networks["generator"], image) for image in (translations, images)]
      for name, half, positions in (
        ("patch_nce", slice(count), draws.source),
        ("identity_nce", slice(count, None), draws.target),
      ):
        queries, keys = (self._embed(networks, [x[half] for x in m], positions) for m in maps)
        parts[name] = self._patch_nce(queries, keys)
      return parts["adversarial"] + (parts["patch_nce"] + parts["identity_nce"]) / 2, parts

    slopes, parts = jax.grad(generator_loss, has_aux=True)(gan.part(params, GENERATOR))
    slopes = jax.tree.map(jnp.add, slopes, gan.part(grads, GENERATOR))
    state = gan.step(state, "generator", self.adam, slopes)
    return state, {f"translator/{k}": v for k, v in {"discriminator": loss, **parts}.items()}

  def _embed(self, networks: Any, maps: Sequence[jax.Array], positions: Any):
    return gan.apply(self.patch_mlp, networks["patch_mlp"], maps, positions)

  def _patch_nce(self, queries: Sequence[jax.Array], keys: Sequence[jax.Array]) -> jax.Array:
    pairs = zip(queries, keys, strict=True)
    return jnp.mean(jnp.stack([self.patch_nce(q, k) for q, k in pairs]))

  def _generate(self, params: Any, image: jax.Array) -> jax.Array:
    return gan.apply(self.generator, params, image)

  def _encode(self, params: Any, image: jax.Array) -> Sequence[jax.Array]:
    return gan.apply(self.generator, params, image, method="encode")

  def _discriminate(self, params: Any, image: jax.Array) -> jax.Array:
    return gan.apply(self.discriminator, params, image)


def add_translated(task: Task, method: Method, **settings: Any) -> Method:
  """`method` on source images in the style of the target.

  Its losses leave the translator alone; a feature distance sees the translated images.

  Args:
    task: Not used; every component takes it.
    method: Any method that reads `batch["source"]`.
    **settings: Keyword arguments of `Translator`.

  Raises:
    SettingError: `method` has auxiliary networks already.
  """
  del task
  if method.auxiliary:
    raise SettingError((), ": translated needs a method without auxiliary networks.")
  translator = registry.call(Translator, (), **settings)
  return method._replace(auxiliary=translator.auxiliary)
