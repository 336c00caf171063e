"""Prints parameters and cost of every encoder with every decoder: the table of docs/models.md.

  python benchmarks/models.py [--size 512] [--classes 19]

It runs no network. The cost is half of XLA's count of floating-point operations in one forward pass of
one square image. The count includes norms, activations and resizing beside convolutions and matrices,
and leaves out products with padding.
"""

import argparse

import jax
import jax.numpy as jnp

from jax_uda import models
from jax_uda.models import catalog

HRDA_SIZE = 1024  # one window of the published evaluation


def shapes_of(model: models.Segmentor, size: int) -> dict:
  """Returns the shapes of the variables."""
  init = lambda: model.init(
    jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False, use_running_average=True
  )
  return jax.eval_shape(init)


def count(shapes: dict) -> float:
  """Counts million parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6


def giga_macs(model: models.Segmentor, variables: dict, size: int, parts: tuple | None) -> float:
  """Counts GMACs of a forward pass; without the decoder if `parts` is ()."""

  def forward(variables, image):
    out = model.apply(variables, image, train=False, use_running_average=True, outputs=parts)
    return out.features if parts == () else out.logits

  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.jit(forward).lower(variables, image).cost_analysis()["flops"] / 2e9


def row(encoder: str, size: int, classes: int) -> list[str]:
  """Returns the cells of one encoder: alone, then with each decoder."""
  cells = []
  for decoder in catalog.DECODERS:
    model = models.build(encoder=encoder, decoder=decoder, num_classes=classes)
    variables = shapes_of(model, size)
    cell = lambda params, parts: f"{params:.1f} / {giga_macs(model, variables, size, parts):.1f}"  # noqa: B023
    if not cells:
      cells.append(cell(count(variables["params"]["encoder"]), ()))
    cells.append(cell(count(variables["params"]), None))
  return cells


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--size", type=int, default=512, help="sides of the image")
  parser.add_argument("--classes", type=int, default=19)
  args = parser.parse_args()
  print(f"million parameters / GMACs, {args.size} x {args.size}, {args.classes} classes\n")
  print("| encoder | alone |", *(f"{decoder} |" for decoder in catalog.DECODERS))
  print("|---|" + "---|" * (1 + len(catalog.DECODERS)))
  for encoder in catalog.ENCODERS:
    cells = row(encoder, args.size, args.classes)
    print(f"| {encoder} |", *(f"{cell} |" for cell in cells), flush=True)
  for decoder in ("daformer", "dlv2red"):
    encoder = {"daformer": "mit_b5", "dlv2red": "resnet101_v1c"}[decoder]
    model = models.build(encoder=encoder, decoder=decoder, num_classes=args.classes, hrda={})
    variables = shapes_of(model, HRDA_SIZE)
    cost = giga_macs(model, variables, HRDA_SIZE, None)
    print(
      f"HRDA on {encoder} + {decoder}: {count(variables['params']):.1f} / {cost:.0f}, "
      f"evaluating {HRDA_SIZE} x {HRDA_SIZE}"
    )


if __name__ == "__main__":
  main()
