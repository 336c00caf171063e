"""Laws of `models.protocols`: every encoder with every decoder, and every head.

Only shapes are computed. Networks have their `tiny` options, with which those that differ in size alone are
one network: the first of them stands for all. A new encoder, decoder or head that the catalog knows is
tested without a line here.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest

from jax_uda import models
from jax_uda.models import catalog, protocols
from jax_uda.models.heads import cam, distance, projection

pytestmark = pytest.mark.fast

BATCH, CLASSES, SIDE = 2, 5, 64
DTYPE = jnp.bfloat16  # to tell it from the parameters' and the logits'
KEYS = ("params", "dropout", "tokens")
MODES = [
  {"train": train, "use_running_average": running}
  for train, running in itertools.product((False, True), repeat=2)
]
HEADS = {
  "projection of all levels": functools.partial(projection.ProjectionHead, dim=3),
  "projection of the last level": functools.partial(projection.ProjectionHead, 3, levels="last"),
  "region projection": functools.partial(projection.RegionProjectionHead, dim=3),
  "region projection of the fused map": functools.partial(
    projection.RegionProjectionHead, dim=3, source="fused", pool=2
  ),
  "linear projection": functools.partial(projection.LinearProjectionHead, 3),
  "class activation maps": functools.partial(cam.CAMHead, 3),
  "distance": functools.partial(distance.DistanceHead, 3),
}


def make(name, **options):
  """An encoder or decoder of the catalog in its tiny form."""
  table = catalog.ENCODERS if name in catalog.ENCODERS else catalog.DECODERS
  return table[name](**catalog.tiny(name), dtype=DTYPE, **options)


# The first encoder of each tiny form.
ENCODERS = [*{make(name): name for name in reversed(catalog.ENCODERS)}.values()][::-1]


@functools.cache
def shapes(module, *args, **mode):
  """The result and the variables of a module: shapes and dtypes, from its initialisation."""
  rngs = {name: jax.random.key(i) for i, name in enumerate(KEYS)}
  return jax.eval_shape(functools.partial(module.init_with_output, **mode), rngs, *args)


def image(height=SIDE, width=SIDE):
  return jax.ShapeDtypeStruct((BATCH, height, width, 3), jnp.float32)


def features(name):
  """The maps of an encoder, and its variables."""
  return shapes(make(name), image(), **MODES[0])


def assert_float32(variables):
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  assert set(variables) <= {"params", "batch_stats"}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_returns_maps_of_ascending_strides_in_the_compute_dtype(name):
  maps, variables = features(name)
  assert isinstance(maps, tuple) and maps
  for fine, coarse in itertools.pairwise(maps):
    assert fine.shape[1] >= coarse.shape[1] and fine.shape[2] >= coarse.shape[2]
  assert all(x.ndim == 4 and x.shape[0] == BATCH and x.dtype == DTYPE for x in maps)
  assert_float32(variables)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_switches_of_an_encoder_change_no_shape(name):
  maps, variables = features(name)
  for mode in MODES[1:]:
    again = shapes(make(name), image(), **mode)
    assert jax.tree.structure(again) == jax.tree.structure((maps, variables))
    assert jax.tree.leaves(again) == jax.tree.leaves((maps, variables))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_rounds_sizes_or_refuses_them(name):
  module, sizes = make(name), (SIDE - 3, SIDE + 7)
  try:
    maps, _ = shapes(module, image(*sizes), **MODES[0])
  except ValueError as error:
    assert f"{sizes[0]}x{sizes[1]}" in str(error)
    return
  square, _ = features(name)
  # Some first resize the image to the nearest multiple of so many pixels.
  off = getattr(module, "multiple", 0) / 2
  for x, y in zip(maps, square, strict=True):
    for side, length, reference in zip(sizes, x.shape[1:3], y.shape[1:3], strict=True):
      assert abs(length - side * reference / SIDE) < 1 + off * reference / SIDE + 1e-6


@pytest.mark.parametrize("name", catalog.ENCODERS)
def test_an_encoder_can_be_a_key_and_knows_its_colors(name):
  module = make(name)
  assert module == make(name) and hash(module) == hash(make(name))
  assert len(module.image_mean) == len(module.image_std) == 3
  assert all(0 <= x <= 1 for x in (*module.image_mean, *module.image_std))
  assert isinstance(protocols.inputs_of(module), tuple)
  assert hasattr(catalog.ENCODERS[name](), "dtype")  # at full size, too


@pytest.mark.parametrize("decoder", catalog.DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_decoder_takes_the_maps_of_every_encoder(encoder, decoder):
  maps, _ = features(encoder)
  module = make(decoder, num_classes=CLASSES)
  (logits, fused), variables = shapes(module, maps, **MODES[0])
  assert logits.shape[0] == fused.shape[0] == BATCH and logits.shape[3] == CLASSES
  assert logits.dtype == jnp.float32 and fused.dtype == DTYPE and fused.ndim == 4
  assert logits.shape[1] >= maps[-1].shape[1] and logits.shape[2] >= maps[-1].shape[2]
  assert_float32(variables)
  assert (module.num_classes, module.dtype) == (CLASSES, DTYPE)
  both = shapes(module, maps, **MODES[-1])  # training
  assert jax.tree.leaves(both) == jax.tree.leaves(((logits, fused), variables))


@pytest.mark.parametrize("decoder", catalog.DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_pair_makes_a_network(encoder, decoder):
  options = {"encoder_options": catalog.tiny(encoder), "decoder_options": catalog.tiny(decoder)}
  model = models.build(encoder=encoder, decoder=decoder, num_classes=CLASSES, **options)
  assert model.image_mean == make(encoder).image_mean
  wrapped = models.build(
    encoder=encoder, decoder=decoder, num_classes=CLASSES, hrda={}, dtype=DTYPE, **options
  )
  assert wrapped.dtype == DTYPE and wrapped.image_std == model.image_std


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("encoder", ["compact", "dinov2_vits14", "mit_b0"])
def test_a_head_maps_the_features_of_every_encoder_to_float32_vectors(encoder, name):
  maps, _ = features(encoder)
  (_, fused), _ = shapes(make("light", num_classes=CLASSES), maps, **MODES[0])
  head = HEADS[name](dtype=DTYPE)
  results = [shapes(head, maps, fused, **mode) for mode in MODES]
  vectors, variables = results[0]
  assert vectors.ndim == 4 and vectors.dtype == jnp.float32
  assert (vectors.shape[0], vectors.shape[3]) == (BATCH, 3)
  assert_float32(variables)
  assert all(jax.tree.leaves(x) == jax.tree.leaves(results[0]) for x in results[1:])
  assert head == HEADS[name](dtype=DTYPE)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_without_the_fused_map_works_or_asks_for_it(name):
  maps, _ = features("compact")
  try:
    shapes(HEADS[name](), maps, None, **MODES[0])
  except ValueError as error:
    assert "'fused'" in str(error)
