"""HRDA agrees with the reference, and CLUDA's head on it."""

import functools

import golden_cases
import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax_uda import losses, models
from jax_uda.common.registry import SettingError
from jax_uda.models import weights
from jax_uda.ops import boxes as hrda_boxes
from jax_uda.ops import resize, windows

EVAL = {"train": False, "use_running_average": True}
TEACHER = {"train": False, "use_running_average": False}
TRAIN = {"train": True, "use_running_average": False}
HRDA_NAMES = golden_cases.ROOT / "base" / "names_uda_hrda_daformer_mitb5.json.gz"


def cross_entropy(logits, label, weight):
  return losses.weighted_cross_entropy(resize.bilinear(logits, label.shape[1:]), label, weight)


def tiny(case):
  """The network of the file and its variables."""
  sizes = {k: tuple(case[k].tolist()) for k in ("embed_dims", "num_heads", "depths")}
  width = {"embed_dim": int(case.head_embed), "channels": int(case.head_embed), "dropout": 0.0}
  model = models.build(
    encoder="mit_b0",
    decoder="daformer",
    num_classes=int(case.num_classes),
    encoder_options={**sizes, "mlp_ratio": int(case.mlp_ratio), "drop_path": 0.0},
    decoder_options=width,
    hrda={"crop_size": tuple(case.hr_crop_size.tolist()), "attention_options": width},
  )
  model = golden_models.without_standardisation(model)
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.asarray(case.x)
  )
  return model, weights.from_torch(case.group("w/"), shapes)


@pytest.mark.parametrize("case", golden("base/hrda_tiny"))
def test_inference_matches_reference(case):
  model, variables = tiny(case)
  run = jax.jit(functools.partial(model.apply, **EVAL))
  assert_close(run(variables, case.x).logits, case.encode_decode_eval_os4, 1e-4)
  window = tuple(case.test_crop.tolist())
  logits = windows.sliding_logits(
    lambda x: resize.bilinear(run(variables, x).logits, window),
    jnp.asarray(case.x_large),
    window,
    tuple(case.test_stride.tolist()),
  )
  assert_close(logits[:, ::4, ::4], case.slide_logits_sub4, 1e-4)
  assert np.mean(jnp.argmax(logits, -1) == case.slide_argmax) >= 0.999


@pytest.mark.parametrize("case", golden("base/hrda_tiny"))
def test_the_teachers_pass_matches_reference(case):
  model, variables = tiny(case)
  run = jax.jit(functools.partial(model.apply, mutable=["batch_stats"], **TEACHER))
  outputs, state = run(variables, case.x)
  assert_close(outputs.logits, case.encode_decode_train_os4, 1e-3)
  statistics = weights.to_torch(state)
  for name, expected in case.group("new_stats/").items():
    assert_close(statistics[name], expected, 1e-3)


@pytest.mark.parametrize("case", golden("base/hrda_tiny"))
def test_the_training_pass_matches_reference(case):
  model, variables = tiny(case)
  label, weight, box = (jnp.asarray(case[k]) for k in ("label", "seg_weight", "crop_box"))

  @jax.jit
  def run(params):
    def loss(params):
      outputs, _ = model.apply(
        {**variables, "params": params},
        case.x,
        crop_box=box,
        mutable=["batch_stats"],
        **TRAIN,
      )
      detail = lambda x: hrda_boxes.crop(x, outputs.heads["hr_box"], model.crop_size)
      hr_weight = float(case.hr_loss_weight)
      fused = (1 - hr_weight) * cross_entropy(outputs.logits, label, weight)
      hr = hr_weight * cross_entropy(outputs.heads["hr_logits"], detail(label), detail(weight))
      return fused + hr, (fused, hr, outputs.features)

    return jax.value_and_grad(loss, has_aux=True)(params)

  (total, (fused, hr, features)), gradients = run(variables["params"])
  assert_close(fused, case.loss_fused_weighted, 1e-4)
  assert_close(hr, case.loss_hr_weighted, 1e-4)
  assert_close(total, case.loss_total, 1e-4)
  assert_close(features[-1], case.lr_feat4, 1e-4)
  gradients = weights.to_torch({"params": gradients})
  for name, expected in case.group("grad_w/").items():
    assert_close(gradients[name], expected, 1e-3)


def small(**hrda):
  """A cheap HRDA network with a head, its variables and an image of 32x32."""
  width = {"embed_dim": 4, "channels": 4}
  model = models.build(
    encoder="compact",
    decoder="light",
    num_classes=3,
    encoder_options={"widths": (8, 8, 8), "depths": (1, 1)},
    decoder_options={"width": 8},
    hrda={"crop_size": (16, 16), "attention_options": width, **hrda},
  )
  image = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
  return model, jax.jit(functools.partial(model.init, **EVAL))(jax.random.key(0), image), image


def test_a_training_pass_reports_its_crop():
  model, variables, image = small()
  run = lambda **kwargs: model.apply(
    variables, image, train=True, use_running_average=True, **kwargs
  )
  drop = {"dropout": jax.random.key(0)}
  drawn = run(rngs={**drop, "crop": jax.random.key(3)})
  assert drawn.logits.shape == (2, 16, 16, 3)
  shapes = {name: head.shape for name, head in drawn.heads.items()}
  assert shapes == {
    "hr_logits": (2, 8, 8, 3),
    "hr_fused": (2, 8, 8, 8),
    "hr_box": (2, 4),
    "lr_logits": (2, 8, 8, 3),
  }
  assert not (drawn.heads["hr_box"] % 4).any()
  again = run(rngs=drop, crop_box=drawn.heads["hr_box"])  # one box per image, all the same
  np.testing.assert_allclose(again.logits, drawn.logits, atol=1e-5)
  by_rule = run(rngs=drop, crop_box=lambda context, *sizes: drawn.heads["hr_box"][: len(context)])
  np.testing.assert_allclose(by_rule.logits, drawn.logits, atol=1e-5)
  with pytest.raises(ValueError, match="crop_box"):
    run(rngs=drop)


def test_without_the_decoder_the_detail_is_not_looked_at():
  model, variables, image = small()
  outputs = model.apply(variables, image, outputs=(), train=True, use_running_average=True)
  assert outputs.logits is None and outputs.heads == {}
  features = model.apply(variables, image, method="encode", **EVAL)
  for a, b in zip(outputs.features, features, strict=True):
    np.testing.assert_array_equal(a, b)
  assert features[0].shape == (2, 8, 8, 8)
  mapped = model.apply(variables, image, outputs=("fused",), train=True, use_running_average=True)
  assert mapped.logits is None and mapped.heads == {} and mapped.fused.shape[1:3] == (8, 8)


def test_eight_devices_equal_one():
  model, variables, _ = small()
  image = jax.random.normal(jax.random.key(5), (8, 32, 32, 3))
  boxes = 4 * jax.random.randint(jax.random.key(6), (8, 2), 0, 5)
  boxes = jnp.stack([boxes[:, 0], boxes[:, 0] + 16, boxes[:, 1], boxes[:, 1] + 16], 1)

  @jax.jit
  def run(image, boxes):
    evaluated = model.apply(variables, image, **EVAL)
    rngs = {"dropout": jax.random.key(0)}
    trained = model.apply(
      variables, image, crop_box=boxes, rngs=rngs, mutable=["batch_stats"], **TRAIN
    )
    return evaluated.logits, trained

  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  spread = lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
  one, eight = run(image, boxes), run(spread(image), spread(boxes))
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_any_encoder_and_decoder_can_be_wrapped(dtype):
  model = models.build(
    encoder="resnet50_v1c",
    decoder="dlv2",
    num_classes=3,
    encoder_options={"depths": (1, 1, 1, 1)},
    hrda={"crop_size": (32, 32), "class_attention": False, "feature_weighter": True},
    dtype=dtype,
  )
  image, box = jnp.zeros((1, 64, 64, 3)), jnp.array([0, 32, 16, 48])
  init = functools.partial(model.init_with_output, crop_box=box, train=True)
  rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
  outputs, _ = jax.eval_shape(functools.partial(init, use_running_average=True), rngs, image)
  assert outputs.logits.shape == (1, 8, 8, 3) and outputs.logits.dtype == jnp.float32
  # At the decoder's stride, 8, although the finest map that it reads has 4.
  assert outputs.heads["feature_weight"].shape == (1, 4, 4, 1)
  assert outputs.heads["hr_fused"].shape == (1, 4, 4, 2048)


@pytest.mark.parametrize("size, crop", [((33, 32), (16, 16)), ((32, 32), (16, 18))])
def test_sizes_that_do_not_fit_the_stride_are_refused(size, crop):
  model, variables, _ = small()
  run = functools.partial(model.clone(crop_size=crop).apply, **EVAL)
  with pytest.raises(ValueError, match="must be multiples of 4, twice"):
    jax.eval_shape(run, variables, jnp.zeros((1, *size, 3)))


def test_the_released_network_has_its_names_and_parameters():
  model = models.build(encoder="mit_b5", decoder="daformer", num_classes=19, hrda={})
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 85_685_990
  entries = golden_cases.load(HRDA_NAMES)["entries"]
  expected = {e["name"]: tuple(e["shape"]) for e in entries if "num_batches" not in e["name"]}
  flat = weights.to_torch(jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), shapes))
  assert {name: value.shape for name, value in flat.items()} == expected


def test_the_attention_may_be_a_decoder_of_the_networks_own_kind():
  network = functools.partial(
    models.build,
    encoder="compact",
    num_classes=3,
    encoder_options=dict(widths=(8, 8, 16), depths=(1, 1)),
  )
  build = lambda **hrda: network(decoder="dlv2red", hrda=dict(crop_size=(32, 32), **hrda))
  shapes = lambda model: jax.eval_shape(
    lambda: model.init(
      {"params": jax.random.key(0), "crop": jax.random.key(1)},
      jnp.zeros((1, 64, 64, 3)),
      train=False,
      use_running_average=True,
    )
  )["params"]["decoder"]
  own = shapes(build(attention="decoder"))
  assert jax.tree.map(jnp.shape, own["scale_attention"]) == jax.tree.map(jnp.shape, own["head"])
  assert "linear_c" not in str(own["scale_attention"].keys())
  with pytest.raises(SettingError, match="hrda.attention = 'other' is unknown"):
    build(attention="other")
