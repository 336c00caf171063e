"""Full-size networks agree with PyTorch libraries, through the files that those write.

Needs the extra `parity`; skipped without it.
"""

import jax
import numpy as np
import pytest
from golden_cases import assert_close

from jax_uda.models import catalog, weights

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
MODE = {"train": False, "use_running_average": True}
TOLERANCE = 1e-4


def randomise(model):
  """All weights away from what an initialisation leaves at 0 or 1."""
  torch.manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if not name.endswith("mask_token"):
        parameter.add_(0.02 * torch.randn_like(parameter))
    for name, buffer in model.named_buffers():
      if name.endswith("running_mean"):
        buffer.normal_(std=0.1)
      elif name.endswith("running_var"):
        buffer.uniform_(0.8, 1.2)
  return model.eval()


def draw_image(size):
  return np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)


def our_maps(encoder, path, image):
  """What the encoder computes from the weights in a file."""
  init = lambda: encoder.init(jax.random.key(0), image, **MODE)
  shapes = {kind: {"encoder": tree} for kind, tree in jax.eval_shape(init).items()}
  variables, _ = weights.load(shapes, path)
  variables = {kind: tree["encoder"] for kind, tree in variables.items()}
  return jax.jit(lambda variables, image: encoder.apply(variables, image, **MODE))(variables, image)


def torch_image(image):
  return torch.tensor(image).permute(0, 3, 1, 2)


def assert_maps_close(ours, theirs):
  assert len(ours) == len(theirs)
  for a, b in zip(ours, theirs, strict=True):
    assert np.std(b) > 0.1  # not all cancelled or saturated
    assert_close(a, b, TOLERANCE)


def channels_last(maps):
  return [x.detach().permute(0, 2, 3, 1).numpy() for x in maps]


@pytest.mark.parametrize("name, width, depths", [
  ("mit_b0", 32, (2, 2, 2, 2)),
  ("mit_b5", 64, (3, 6, 40, 3)),
])  # fmt: skip
def test_mit_agrees_with_transformers(name, width, depths, tmp_path):
  transformers = pytest.importorskip("transformers")
  sizes = (width, 2 * width, 5 * width, 8 * width)
  config = transformers.SegformerConfig(
    depths=depths, hidden_sizes=sizes, drop_path_rate=0.0, hidden_dropout_prob=0.0
  )
  model = randomise(transformers.SegformerForImageClassification(config))
  for part, module in model.named_modules():
    # The library has 1e-5 everywhere; the official code there alone.
    inner = "patch_embeddings" in part or "sequence_reduction" in part
    if isinstance(module, torch.nn.LayerNorm):
      module.eps = 1e-5 if inner else 1e-6
  model.save_pretrained(tmp_path)
  image = draw_image((64, 96))
  with torch.no_grad():
    theirs = model.segformer(torch_image(image), output_hidden_states=True).hidden_states
  ours = our_maps(catalog.ENCODERS[name](), tmp_path / "model.safetensors", image)
  assert_maps_close(ours, channels_last(theirs))


def test_dinov2_agrees_with_transformers(tmp_path):
  transformers = pytest.importorskip("transformers")
  grid = 8  # where the position embedding fits: the library resizes it in another way
  config = transformers.Dinov2Config(image_size=14 * grid)
  model = randomise(transformers.Dinov2Model(config))
  model.save_pretrained(tmp_path)
  image = draw_image((14 * grid, 14 * grid))
  with torch.no_grad():
    tokens = model(torch_image(image)).last_hidden_state[:, 1:]
  encoder = catalog.ENCODERS["dinov2_vitb14"](enlarge=1.0, position_grid=grid)
  ours = our_maps(encoder, tmp_path / "model.safetensors", image)
  assert_maps_close(ours, [tokens.reshape(1, grid, grid, -1).numpy()])


# timm counts the deep stem's layers within `conv1`.
STEM = {f"conv1.{i}.": f"stem.{i}." for i in (0, 1, 3, 4, 6)} | {"bn1.": "stem.7."}


@pytest.mark.parametrize(
  "name, architecture, renamed",
  [("resnet101_torchvision_frozen", "resnet101", {}), ("resnet101_v1c", "resnet101c", STEM)],
)
def test_resnet_101_agrees_with_timm(name, architecture, renamed, tmp_path):
  timm = pytest.importorskip("timm")
  model = randomise(timm.create_model(architecture, output_stride=8))
  if name.endswith("frozen"):
    for module in model.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        module.eps = 0.0
  rename = lambda key: next(
    (new + key.removeprefix(old) for old, new in renamed.items() if key.startswith(old)), key
  )
  torch.save({rename(k): v for k, v in model.state_dict().items()}, tmp_path / "w.pth")
  image = draw_image((64, 96))
  x, theirs = torch_image(image), []
  with torch.no_grad():
    x = model.maxpool(model.act1(model.bn1(model.conv1(x))))
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
      x = layer(x)
      theirs.append(x)
  ours = our_maps(catalog.ENCODERS[name](), tmp_path / "w.pth", image)
  assert_maps_close(ours, channels_last(theirs))


@pytest.mark.long
def test_dinov3_agrees_with_transformers(tmp_path):
  transformers = pytest.importorskip("transformers")
  config = transformers.DINOv3ViTConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    num_register_tokens=4,
  )  # fmt: skip
  model = randomise(transformers.DINOv3ViTModel(config))
  model.save_pretrained(tmp_path)
  image = draw_image((48, 80))
  with torch.no_grad():
    tokens = model(torch_image(image)).last_hidden_state[:, 5:]
  ours = our_maps(catalog.ENCODERS["dinov3_vitb16"](), tmp_path / "model.safetensors", image)
  assert_maps_close(ours, [tokens.reshape(1, 3, 5, -1).numpy()])


@pytest.mark.long
def test_dinov2_with_registers_agrees_with_transformers(tmp_path):
  transformers = pytest.importorskip("transformers")
  config = transformers.Dinov2WithRegistersConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
    image_size=14 * 8, num_register_tokens=4,
  )  # fmt: skip
  model = randomise(transformers.Dinov2WithRegistersModel(config))
  model.save_pretrained(tmp_path)
  image = draw_image((14 * 4, 14 * 11))
  with torch.no_grad():
    tokens = model(torch_image(image)).last_hidden_state[:, 5:]
  encoder = catalog.ENCODERS["dinov2_vitl14_reg"](enlarge=1.0, position_grid=8)
  ours = our_maps(encoder, tmp_path / "model.safetensors", image)
  assert_maps_close(ours, [tokens.reshape(1, 4, 11, -1).numpy()])


@pytest.mark.long
@pytest.mark.parametrize(
  "name, architecture",
  [
    ("lingbot_vits16", "vit_small_patch16_lingbot"),
    ("dinov3_vits16plus", "vit_small_plus_patch16_dinov3"),  # without biases of q and v
    ("eupe_vitt16", "vit_tiny_patch16_dinov3_qkvb"),
  ],
)
def test_dinov3s_graph_agrees_with_timm(name, architecture, tmp_path):
  timm = pytest.importorskip("timm")
  if not timm.is_model(architecture):
    pytest.skip(f"timm {timm.__version__} has no {architecture}")
  model = randomise(timm.create_model(architecture, num_classes=0, dynamic_img_size=True))
  torch.save(model.state_dict(), tmp_path / "w.pth")
  image = draw_image((48, 80))
  with torch.no_grad():
    tokens = model.forward_features(torch_image(image))[:, 5:]
  ours = our_maps(catalog.ENCODERS[name](), tmp_path / "w.pth", image)
  assert_maps_close(ours, [tokens.reshape(1, 3, 5, -1).numpy()])
