"""The passes of self-training in PyTorch: source, teacher and mixed pass, backward, AdamW, moving average."""

import copy
import time
from collections.abc import Callable
from typing import Any

import measure
import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 19


class SegFormer(nn.Module):
  """transformers' SegFormer-B5 with its own decoder."""

  def __init__(self, dry: bool):
    super().__init__()
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    depths = [1, 1, 1, 1] if dry else [3, 6, 40, 3]
    widths = [16, 16, 32, 32] if dry else [64, 128, 320, 512]
    config = SegformerConfig(
      depths=depths,
      hidden_sizes=widths,
      decoder_hidden_size=widths[-1] if dry else 768,
      num_labels=CLASSES,
    )
    self.network = SegformerForSemanticSegmentation(config)

  def forward(self, image: torch.Tensor) -> torch.Tensor:
    return self.network(image).logits


class Vit(nn.Module):
  """timm's ViT-L/14 with a head of one transposed convolution and a classifier, as VFM-UDA's."""

  def __init__(self, dry: bool, size: int):
    super().__init__()
    import timm

    name = "vit_tiny_patch16_224" if dry else "vit_large_patch14_dinov2"
    self.network = timm.create_model(name, img_size=size, num_classes=0, dynamic_img_size=True)
    width = self.network.embed_dim
    self.patch = self.network.patch_embed.patch_size[0]
    self.up = nn.ConvTranspose2d(width, width // 4, 2, 2)
    self.classifier = nn.Conv2d(width // 4, CLASSES, 1)

  def forward(self, image: torch.Tensor) -> torch.Tensor:
    side = image.shape[-1] // self.patch
    tokens = self.network.forward_features(image)[:, -side * side :]
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    return self.classifier(F.gelu(self.up(grid)))


def make_step(network: nn.Module, device: str) -> Callable[[torch.Tensor, torch.Tensor], None]:
  """A step of self-training with ClassMix; strong augmentation is left out."""
  student = network.to(device)
  teacher = copy.deepcopy(student).requires_grad_(False)
  optimizer = torch.optim.AdamW(student.parameters(), 6e-5, fused=device == "cuda")
  forward = torch.compile(student) if device == "cuda" else student
  predict = torch.compile(teacher) if device == "cuda" else teacher
  autocast = lambda: torch.autocast(device, torch.bfloat16)

  def loss_of(image: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    logits = F.interpolate(forward(image), label.shape[1:], mode="bilinear")
    return (F.cross_entropy(logits.float(), label, reduction="none") * weight).mean()

  def step(images: torch.Tensor, labels: torch.Tensor) -> None:
    source, target = images
    with torch.no_grad(), autocast():
      for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 0.001)
      logits = F.interpolate(predict(target), labels.shape[1:], mode="bilinear")
      confidence, pseudo = logits.float().softmax(1).max(1)
      share = (confidence > 0.968).float().mean()
      pasted = labels < CLASSES // 2
      mixed = torch.where(pasted[:, None], source, target)
      mixed_label = torch.where(pasted, labels, pseudo)
      weight = torch.where(pasted, torch.ones_like(share), share)
    optimizer.zero_grad(set_to_none=True)
    with autocast():
      loss_of(source, labels, torch.ones_like(weight)).backward()
      loss_of(mixed, mixed_label, weight).backward()
    optimizer.step()

  return step


def figures_of(make: Callable[[], nn.Module], batch: int, size: int, dry: bool) -> dict[str, Any]:
  """Builds a step and times it."""
  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.manual_seed(0)
  step = make_step(make(), device)
  images = torch.rand(2, batch, 3, size, size, device=device)
  labels = torch.randint(0, CLASSES, (batch, size, size), device=device)
  wait = torch.cuda.synchronize if device == "cuda" else lambda: None

  def run() -> None:
    step(images, labels)
    wait()

  began = time.perf_counter()
  run()
  compiled = time.perf_counter() - began
  measure.wait_for_turn()
  seconds = measure.seconds_of(run, dry=dry)
  peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
  return {
    "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    "torch": torch.__version__,
    "batch": batch,
    "compile_seconds": round(compiled, 1),
    "step_seconds": round(seconds, 4),
    "images_per_second": round(2 * batch / seconds, 2),
    "peak_gib": round(peak / 2**30, 2),
  }


if __name__ == "__main__":
  args = measure.arguments(__doc__)
  results = measure.Results(args.results)
  size, large = (64, 64) if args.dry else (512, 1120)
  torch.set_float32_matmul_precision("high")
  networks = {
    "segformer_b5": (lambda: SegFormer(args.dry), size),
    "vit_large": (lambda: Vit(args.dry, large), large),
  }
  for name in [args.only] if args.only else networks:
    make, side = networks[name]
    results.attempt(name, lambda: figures_of(make, 2, side, args.dry))  # noqa: B023
