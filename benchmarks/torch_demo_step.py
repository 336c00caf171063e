"""The demo's adaptation step in plain PyTorch, for comparison: same network, same operations."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def conv3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
  return nn.Conv2d(
    inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
  )


class Block(nn.Module):
  """`jax_uda.models.encoders.compact.ResidualBlock`."""

  def __init__(self, inputs: int, features: int, stride: int, dilation: int):
    super().__init__()
    self.stride = stride
    self.conv1 = conv3(inputs, features, stride, dilation)
    self.norm1 = nn.GroupNorm(8, features)
    self.conv2 = conv3(features, features, 1, dilation)
    self.norm2 = nn.GroupNorm(8, features)
    if stride > 1 or inputs != features:
      self.shortcut = nn.Conv2d(inputs, features, 1, bias=False)

  def forward(self, x):
    y = F.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    if hasattr(self, "shortcut"):
      x = self.shortcut(F.avg_pool2d(x, self.stride) if self.stride > 1 else x)
    return F.relu(x + y)


class Encoder(nn.Module):
  """`jax_uda.models.encoders.compact.CompactEncoder` with its default sizes."""

  def __init__(self):
    super().__init__()
    self.stem = conv3(3, 32, 2)
    self.stem_norm = nn.GroupNorm(8, 32)
    self.stage1_0 = Block(32, 32, 1, 1)
    self.stage2_0, self.stage2_1 = Block(32, 64, 2, 1), Block(64, 64, 1, 1)
    self.stage3_0 = Block(64, 128, 2, 1)
    self.stage3_1, self.stage3_2 = Block(128, 128, 1, 2), Block(128, 128, 1, 4)
    self.context1, self.context2 = nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 1)

  def forward(self, image):
    fine = self.stage1_0(F.relu(self.stem_norm(self.stem(image))))
    middle = self.stage2_1(self.stage2_0(fine))
    coarse = self.stage3_2(self.stage3_1(self.stage3_0(middle)))
    scene = F.relu(self.context1(coarse.mean((2, 3), keepdim=True)))
    return fine, middle, coarse + self.context2(scene)


class Decoder(nn.Module):
  """`jax_uda.models.decoders.light.LightDecoder`."""

  def __init__(self, num_classes: int, width: int = 48):
    super().__init__()
    for level, channels in enumerate((32, 64, 128)):
      setattr(self, f"lateral{level}", nn.Conv2d(channels, width, 1))
    for level in range(2):
      setattr(self, f"smooth{level}", conv3(width, width))
      setattr(self, f"norm{level}", nn.GroupNorm(8, width))
    self.classifier = nn.Conv2d(width, num_classes, 1)

  def forward(self, features):
    x = self.lateral2(features[2])
    for level in (1, 0):
      x = resize(x, features[level].shape[2:]) + getattr(self, f"lateral{level}")(features[level])
      x = F.relu(getattr(self, f"norm{level}")(getattr(self, f"smooth{level}")(x)))
    return self.classifier(x)


class Net(nn.Module):
  """Encoder and decoder; [B,3,H,W] to logits [B,C,H/2,W/2]."""

  def __init__(self, num_classes: int):
    super().__init__()
    self.encoder, self.decoder = Encoder(), Decoder(num_classes)

  def forward(self, image):
    return self.decoder(self.encoder(image))


def resize(x, size):
  return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def rgb_to_hsv(x):
  red, green, blue = x.unbind(1)
  value, low = x.amax(1), x.amin(1)
  spread = value - low
  safe = torch.where(spread == 0, torch.ones_like(spread), spread)
  sixth = torch.where(
    red == value,
    (green - blue) / safe,
    torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  return sixth / 6 % 1, spread / (value + 1e-6), value


def hsv_to_rgb(hue, saturation, value):
  def channel(offset):
    distance = (hue * 6 + offset) % 6
    return value - value * saturation * torch.minimum(distance, 4 - distance).clamp(0, 1)

  return torch.stack([channel(5), channel(3), channel(1)], 1)


def jitter(x, strength=0.2):
  """Each image in an order of its own, as the reference code does it."""
  images = []
  for image in x.split(1):
    change = (torch.rand(4) * 2 - 1) * strength
    for operation in torch.randperm(4).tolist():
      if operation == 0:
        image = (image + change[0]).clamp(0, 1)
      elif operation == 1:
        image = (image * (1 + change[1])).clamp(0, 1)
      else:
        hue, saturation, value = rgb_to_hsv(image)
        if operation == 2:
          saturation = (saturation * (1 + change[2])).clamp(0, 1)
        else:
          hue = hue + change[3]
        image = hsv_to_rgb(hue, saturation, value)
    images.append(image)
  return torch.cat(images)


def blur(x):
  """A separable Gaussian with one sigma per image, as a grouped convolution."""
  batch, channels, height, width = x.shape
  sigma = torch.rand(batch, 1) + 0.15
  for axis, length in ((2, height), (3, width)):
    tenth = math.ceil(0.1 * length)
    radius = min(math.floor(tenth - 0.5 + tenth % 2) // 2, 7)
    taps = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    shape = (-1, 1, 2 * radius + 1, 1) if axis == 2 else (-1, 1, 1, 2 * radius + 1)
    padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
    padded = F.pad(x, padding, mode="reflect")
    flat = padded.reshape(1, batch * channels, *padded.shape[2:])
    x = F.conv2d(flat, taps.reshape(shape), groups=batch * channels)
    x = x.reshape(batch, channels, height, width)
  return x


def augment(x, gates, mean, std):
  """Jitter and blur where the two gates, drawn once per step for the whole batch, are open."""
  jitter_open, blur_open = gates
  if jitter_open:
    x = (jitter(x * std + mean) - mean) / std
  return blur(x) if blur_open else x


def mix_mask(label):
  """Half of the batch's classes, drawn for each image."""
  classes = label.unique()
  chosen = [classes[torch.randperm(len(classes))[: (len(classes) + 1) // 2]] for _ in label]
  return torch.stack([torch.isin(one, some) for one, some in zip(label, chosen, strict=True)])


class Step:
  """One self-training step after another on CPU tensors; `adapt=False` trains on the source alone."""

  def __init__(
    self,
    num_classes: int,
    mean,
    std,
    class_weights,
    *,
    adapt: bool,
    threshold: float,
    decay: float,
    channels_last: bool = False,
    compiled: bool = False,
  ):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    self.net = Net(num_classes).to(memory_format=layout)
    self.ema = Net(num_classes).to(memory_format=layout)
    self.ema.load_state_dict(self.net.state_dict())
    self.student = torch.compile(self.net) if compiled else self.net
    self.teacher = torch.compile(self.ema) if compiled else self.ema
    # fused: three times as fast on a CPU as the default loop over the parameters
    self.optimizer = torch.optim.AdamW(
      self.net.parameters(), lr=2e-3, weight_decay=0.01, fused=True
    )
    self.mean = torch.tensor(mean).view(1, 3, 1, 1)
    self.std = torch.tensor(std).view(1, 3, 1, 1)
    self.class_weights, self.adapt, self.threshold = torch.tensor(class_weights), adapt, threshold
    self.decay, self.count = decay, 0

  def _loss(self, image, label, weight=None):
    logits = resize(self.student(image), label.shape[1:])
    nll = F.cross_entropy(logits, label, self.class_weights, ignore_index=255, reduction="none")
    return (nll if weight is None else nll * weight).mean()

  def _mixed(self, source, label, target, gates):
    with torch.no_grad():
      probability = resize(self.teacher(target), target.shape[2:]).softmax(1)
    confidence, pseudo_label = probability.max(1)
    confident = (confidence >= self.threshold).float().mean()
    mask = mix_mask(label)
    image = augment(torch.where(mask[:, None], source, target), gates, self.mean, self.std)
    weight = torch.where(mask, torch.ones(()), confident)
    return image, torch.where(mask, label, pseudo_label), weight

  def __call__(self, source, label, target, gates):
    """Trains on uint8 images [B,3,H,W] and int64 labels [B,H,W]; returns the loss.

    `gates` holds (jitter, blur) of the source images and of the mixed ones, as bools.
    """
    with torch.no_grad():
      rate = max(1 / (self.count + 1), 1 - self.decay)
      torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), rate)
    self.count += 1
    standardise = lambda x: (x.float() / 255 - self.mean) / self.std
    source, target = standardise(source), standardise(target)
    loss = self._loss(augment(source, gates[0], self.mean, self.std), label)
    if self.adapt:
      loss = loss + self._loss(*self._mixed(source, label, target, gates[1]))
    self.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    self.optimizer.step()
    return loss.item()
