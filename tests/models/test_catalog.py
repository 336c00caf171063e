"""Networks by name, and networks of one's own."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from jax_uda import models
from jax_uda.models import catalog

pytestmark = pytest.mark.fast

MODE = {"train": False, "use_running_average": True}
MODULE = '''
"""An encoder and a decoder outside the package."""

import flax.linen as nn
import jax.numpy as jnp


class Patches(nn.Module):
  image_mean = image_std = (0.5, 0.5, 0.5)
  tiny = {"width": 4}
  width: int = 64
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, image, *, train, use_running_average, noise=0.0):
    return (nn.Conv(self.width, (4, 4), strides=4, dtype=self.dtype)(image + noise),)


class Pixels(nn.Module):
  num_classes: int
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, features, *, train, use_running_average):
    return nn.Dense(self.num_classes)(features[-1]), features[-1]
'''


@pytest.fixture
def my_networks(tmp_path, monkeypatch):
  (tmp_path / "my_networks.py").write_text(MODULE)
  monkeypatch.syspath_prepend(tmp_path)


def test_a_network_of_ones_own_needs_no_line_in_the_package(my_networks):
  model = models.build(
    encoder="my_networks:Patches",
    decoder="my_networks:Pixels",
    num_classes=3,
    encoder_options={"width": 8},
  )
  init = functools.partial(model.init_with_output, **MODE)
  image = jnp.zeros((1, 16, 32, 3))
  outputs, _ = jax.eval_shape(init, jax.random.key(0), image)
  assert outputs.logits.shape == (1, 4, 8, 3) and outputs.fused.shape == (1, 4, 8, 8)
  assert model.image_mean == (0.5, 0.5, 0.5)
  assert catalog.tiny("my_networks:Patches") == {"width": 4}
  assert catalog.tiny("my_networks:Pixels") == {}
  init(jax.random.key(0), image, noise=1.0)  # the encoder's input
  with pytest.raises(ValueError, match=r"mask, which Patches does not take \(it takes noise\)"):
    init(jax.random.key(0), image, mask=1.0)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"encoder": "compakt"}, "encoder = 'compakt' is unknown. Did you mean 'compact'"),
    ({"decoder": "deformer"}, "decoder = 'deformer' is unknown. Did you mean 'daformer'"),
    ({"encoder": "nowhere:Encoder"}, "encoder = 'nowhere:Encoder' cannot be imported"),
    ({"encoder_options": {"widht": 3}}, "encoder_options has no field 'widht'"),
    (
      {"encoder": "resnet50_caffe", "encoder_options": {"variant": "cafe"}},
      "encoder_options.variant = 'cafe' is unknown. Did you mean 'caffe'",
    ),
    (
      {"encoder": "efficientnet_lite0", "encoder_options": {"strides": (8, 4)}},
      r"encoder_options.strides = \(8, 4\); choose from",
    ),
    ({"decoder_options": {"depth": 3}}, "decoder_options has no field 'depth'"),
    ({"hrda": {"crop": 3}}, "hrda has no field 'crop'"),
    ({"hrda": {"fusion": "scalefirst"}}, "hrda.fusion = 'scalefirst' is unknown. Did you mean"),
  ],
)
def test_a_mistake_is_answered_with_the_argument_at_fault(changes, message):
  with pytest.raises(ValueError, match=f"^{message}"):
    models.build(**{"encoder": "compact", "decoder": "light", "num_classes": 5} | changes)


def test_the_tiny_form_of_an_unknown_network_is_an_error():
  with pytest.raises(ValueError, match="name = 'mit' is unknown"):
    catalog.tiny("mit")


def test_the_encoder_of_the_documentation_works(tmp_path, monkeypatch):
  page = (pathlib.Path(__file__).parents[2] / "docs" / "models.md").read_text()
  (code,) = [
    block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "class My" in block
  ]
  (tmp_path / "my_module.py").write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  model = models.build(encoder="my_module:MyEncoder", decoder="daformer", num_classes=3)
  init = functools.partial(model.init_with_output, **MODE)
  outputs, _ = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  assert outputs.logits.shape == (1, 8, 8, 3)
