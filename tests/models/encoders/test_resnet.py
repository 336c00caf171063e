"""The ResNets, with the DeepLabV2 head, agree with the references."""

import functools

import golden_cases
import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import models
from jax_uda.models import weights
from jax_uda.models.encoders import resnet
from jax_uda.ops import resize

EVAL = {"train": False, "use_running_average": True}
TRAIN = {"train": True, "use_running_average": False}
NAMES = golden_cases.ROOT / "base" / "names_uda_dlv2red_r101v1c.json.gz"
DILATIONS = (6, 12, 18, 24)


def load(case, variant, rename, *, dilations=DILATIONS, **sizes):
  """The network of the file with its weights; `rename` makes their names those of v1c."""
  model = models.build(
    encoder="resnet50_" + variant,
    decoder="dlv2",
    num_classes=int(case.num_classes),
    encoder_options={"depths": tuple(case.blocks.tolist()), **sizes},
    decoder_options={"dilations": dilations},
  )
  model = golden_models.without_standardisation(model)
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.asarray(case.x)
  )
  tensors = {rename(name): value for name, value in case.group("w/").items()}
  unused = [f"decode_head.aspp_modules.{i}." for i in range(len(dilations), len(DILATIONS))]
  unused.append("backbone.proj_head")  # RCCR's, not part of this
  kept = {k: v for k, v in tensors.items() if not k.startswith(tuple(unused))}
  return model, weights.from_torch(kept, shapes)


def caffe_name(name):
  if name.startswith("layer5"):
    return (
      name.replace("layer5.conv2d_list", "decode_head.aspp_modules")
      .replace("weight", "conv.weight")
      .replace("bias", "conv.bias")
    )
  return "backbone." + name


def spcl_name(name):
  return (
    name.replace("classifier.conv2d_list", "decode_head.aspp_modules")
    .replace("weight", "conv.weight")
    .replace("bias", "conv.bias")
    if name.startswith("classifier")
    else name
  )


def outputs_and_gradients(model, variables, x, cotangent, mode, upsample=lambda logits: logits):
  """Outputs, upsampled logits, gradients (parameters, x) and new batch statistics."""

  @jax.jit
  def run(variables, x):
    def forward(params, x):
      outputs, state = model.apply(
        {**variables, "params": params}, x, mutable=["batch_stats"], **mode
      )
      return upsample(outputs.logits), (outputs, state)

    logits, pullback, (outputs, state) = jax.vjp(forward, variables["params"], x, has_aux=True)
    return logits, outputs, pullback(jnp.asarray(cotangent)), state

  return run(variables, jnp.asarray(x))


def check_maps(outputs, case, suffix, rtol):
  for i, level in enumerate(outputs.features, 1):
    if f"c{i}{suffix}" in case:
      assert_close(level, case[f"c{i}{suffix}"], rtol)


@pytest.mark.parametrize("mode, rtol", [("eval", 1e-4), ("train", 1e-3)])
@pytest.mark.parametrize("case", golden("base/deeplab_v1c"))
def test_v1c_matches_reference(case, mode, rtol):
  sizes = {"width": int(case.base_channels), "stem_width": int(case.stem_channels)}
  model, variables = load(case, "v1c", lambda name: name, dilations=DILATIONS[:2], **sizes)
  logits, outputs, (grad_params, grad_x), state = outputs_and_gradients(
    model, variables, case.x, case.cot, TRAIN if mode == "train" else EVAL
  )
  assert_close(logits, case[f"logits_d2_{mode}"], rtol)
  check_maps(outputs, case, f"_{mode}", rtol)
  assert_close(grad_x, case[f"grad_x_{mode}"], rtol)
  gradients = weights.to_torch({"params": grad_params})
  for name, expected in case.group(f"grad_w_{mode}/").items():
    assert_close(gradients[name], expected, rtol)
  if mode == "train":
    statistics = weights.to_torch(state)
    for name, expected in case.group("new_stats/").items():
      assert_close(statistics["backbone." + name], expected, rtol)
  else:
    model, variables = load(case, "v1c", lambda name: name, **sizes)
    assert_close(
      jax.jit(functools.partial(model.apply, **EVAL))(variables, case.x).logits,
      case.logits_d4_eval,
      rtol,
    )


@pytest.mark.parametrize("mode, rtol", [("eval", 1e-4), ("train", 1e-3)])
@pytest.mark.parametrize("case", golden("base/deeplab_caffe"))
def test_caffe_matches_reference(case, mode, rtol):
  image = case.x[..., ::-1]  # the file holds BGR
  model, variables = load(case, "caffe", caffe_name, dilations=DILATIONS[:2], width=int(case.width))
  logits, outputs, (grad_params, grad_x), state = outputs_and_gradients(
    model, variables, image, case.cot, TRAIN if mode == "train" else EVAL
  )
  assert_close(logits, case[f"logits_d2_{mode}"], rtol)
  check_maps(outputs, case, f"_{mode}", rtol)
  assert_close(grad_x[..., ::-1], case[f"grad_x_{mode}"], rtol)
  ours = weights.to_torch({"params": grad_params})
  assert ours.keys() == {caffe_name(name) for name in case.param_has_grad_names.tolist()}
  if mode == "train":
    statistics = weights.to_torch(state)
    for name, expected in case.group("new_stats/").items():
      assert_close(statistics["backbone." + name], expected, rtol)
  else:
    model, variables = load(case, "caffe", caffe_name, width=int(case.width))
    assert_close(
      jax.jit(functools.partial(model.apply, **EVAL))(variables, image).logits,
      case.logits_d4_eval,
      rtol,
    )


@pytest.mark.parametrize("case", golden("base/deeplab_tv_frozen"))
def test_frozen_torchvision_matches_reference_in_training_mode_too(case):
  model, variables = load(case, "torchvision_frozen", spcl_name, width=int(case.width))
  upsample = functools.partial(
    resize.bilinear, size=tuple(case.up_size.tolist()), align_corners=True
  )
  logits, outputs, (_, grad_x), state = outputs_and_gradients(
    model, variables, case.x, case.cot, TRAIN, upsample
  )
  assert_close(outputs.logits, case.logits, 1e-4)
  assert_close(logits, case.logits_up, 1e-4)
  check_maps(outputs, case, "", 1e-4)
  assert_close(grad_x, case.grad_x, 1e-4)
  jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])


def test_a_shortcut_is_projected_only_where_the_shape_changes():
  model = resnet.ResNet("v1c", depths=(2, 1, 1, 1), width=2, stem_width=8)
  init = functools.partial(model.init, **EVAL)
  params = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  assert {n for n in params if "downsample_0" in params[n]} == {"layer2_0", "layer3_0", "layer4_0"}


@pytest.mark.parametrize("length, rounded", [(256, 129), (129, 65), (23, 12), (7, 4)])
def test_the_max_pool_of_caffe_rounds_up(length, rounded):
  pool = lambda ceil: resnet._max_pool(jnp.zeros((1, length, 4, 1)), ceil).shape[1]
  assert pool(True) == rounded
  assert pool(False) == (length + 1) // 2


@pytest.mark.parametrize(
  "encoder, decoder, total",
  [
    ("resnet50_v1c", "dlv2", 24_928_172),
    ("resnet50_v1c", "dlv2red", 24_227_718),
    ("resnet101_v1c", "dlv2", 43_920_300),
    ("resnet101_v1c", "dlv2red", 43_219_846),
  ],
)
def test_networks_have_the_published_number_of_parameters(encoder, decoder, total):
  model = models.build(encoder=encoder, decoder=decoder, num_classes=19)
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == total


def test_names_and_shapes_are_those_of_the_released_network():
  model = models.build(encoder="resnet101_v1c", decoder="dlv2red", num_classes=19)
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  ours = weights.to_torch(jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), shapes))
  entries = golden_cases.load(NAMES)["entries"]
  expected = {e["name"]: tuple(e["shape"]) for e in entries if "num_batches" not in e["name"]}
  assert {name: value.shape for name, value in ours.items()} == expected


def test_frozen_affine_parameters_are_out_of_the_optimizers_reach():
  model = models.build(encoder="resnet50_caffe", decoder="dlv2", num_classes=3)
  shapes = jax.eval_shape(
    functools.partial(model.init, **EVAL), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  assert set(shapes["params"]["encoder"]["layer1_0"]) == {"conv1", "conv2", "conv3", "downsample_0"}
  assert set(shapes["batch_stats"]["encoder"]["bn1"]) == {"scale", "bias", "mean", "var"}


def test_the_standardisation_follows_the_variant():
  caffe = models.build(encoder="resnet101_caffe", decoder="dlv2", num_classes=3)
  assert caffe.image_std == (1 / 255,) * 3 and caffe.image_mean[0] > caffe.image_mean[2]
  v1c = models.build(encoder="resnet101_v1c", decoder="dlv2", num_classes=3)
  assert v1c.image_mean == (0.485, 0.456, 0.406)
