"""Time and memory of the contrastive kernels at the published sizes, beside simpler versions of them.

  python benchmarks/kernels.py [--only bank] [--repeats 3] [--scale 1]

Every kernel is measured (value and gradient, float32) beside a dense version in JAX that builds all pairs
at once and, when torch is installed, beside a plain PyTorch one with a loop over classes. The three take
turns in one process, so that ratios hold when the machine's speed drifts; times are the fastest of
`--repeats`. A ratio is the other's time over ours: above 1, ours is faster. Temporaries are what the
compiled program's own analysis says. `--scale 4` divides the number of pixels by 4.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import dense_kernels
import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import losses
from jax_uda.memory import cam_prototypes, class_statistics

try:
  import torch
  import torch_kernels
except ImportError:
  torch = None

MB = 1e6


@dataclasses.dataclass
class Comparison:
  """One kernel three times.

  `ours`, `dense` and `plain` are called with the same `args` (PyTorch's as tensors); all return a
  scalar loss whose gradient with respect to the first `trained` arguments is taken, or a state.
  """

  name: str
  size: str
  args: tuple[np.ndarray, ...]
  ours: Callable[..., Any]
  dense: Callable[..., Any]
  plain: Callable[..., Any]
  trained: int = 1
  channels_first: tuple[int, ...] = ()  # arguments that PyTorch takes as [B, D, h, w]


def unit(x: np.ndarray) -> np.ndarray:
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def patches(rng, shape: tuple[int, ...], num_classes: int, cell: int = 8) -> np.ndarray:
  """Labels [B,h,w] in square patches, as segmentation has them."""
  small = rng.integers(0, num_classes, (shape[0], -(-shape[1] // cell), -(-shape[2] // cell)))
  grown = np.repeat(np.repeat(small, cell, 1), cell, 2)
  return grown[:, : shape[1], : shape[2]].astype(np.int32)


def sepico(rng, scale: int) -> list[Comparison]:
  """Statistics and bank contrast at MiT-B5's embeddings of two 640x640 images."""
  side = int(160 / scale**0.5)
  classes, dim, length = 19, 512, 200
  x = unit(np.abs(rng.normal(size=(2 * side * side, dim)))).astype(np.float32)
  y = patches(rng, (2, side, side), classes).reshape(-1)
  mean, variance = rng.random((2, classes, dim), np.float32) / dim**0.5
  count = np.full(classes, 1e4, np.float32)
  bank = unit(rng.random((classes, length, dim), np.float32))
  maps = lambda a: a.reshape(2, -1, *a.shape[1:])
  state = lambda *parts: class_statistics.ClassStatistics(*parts)
  size = f"N={len(x)} C={classes} A={dim}"
  return [
    Comparison(
      "statistics",
      size,
      (mean, variance, count, x, y),
      lambda m, v, n, x, y: class_statistics.update(state(m, v, n), maps(x), maps(y)),
      dense_kernels.class_statistics,
      lambda *a: torch_kernels.class_statistics(*a),
      trained=0,
    ),
    Comparison(
      "bank",
      f"{size} L={length}",
      (x, y, bank),
      lambda x, y, bank: losses.bank_cross_entropy(
        maps(x), maps(y), bank, jnp.full(classes, length), temperature=100.0
      ),
      functools.partial(dense_kernels.bank_cross_entropy, temperature=100.0),
      lambda *a: torch_kernels.bank_cross_entropy(*a, temperature=100.0),
    ),
  ]


def pairs(rng, scale: int) -> list[Comparison]:
  """InfoNCE and CLUDA's contrast among the pixels of two 65x65 grids."""
  side = int(65 / scale**0.5)
  shape = (2, side, side)
  x = rng.normal(size=(2 * side * side, 256)).astype(np.float32)
  y = patches(rng, shape, 19).reshape(-1)
  high = rng.normal(size=x.shape).astype(np.float32)  # nowhere zero: the dense one is unguarded
  weight = rng.random(len(x), np.float32)
  inside = (rng.random(len(x)) < 0.25).astype(np.int32) * y
  maps = lambda a: a.reshape(*shape, *a.shape[1:])
  size = f"N={len(x)} A=256"
  return [
    Comparison(
      "info_nce",
      size,
      (unit(x), y),
      lambda x, y: losses.info_nce(
        maps(x), maps(y), maps(x), maps(y), temperature=0.1, exclude_diagonal=True
      ),
      functools.partial(dense_kernels.info_nce, temperature=0.1),
      lambda *a: torch_kernels.info_nce(*a, temperature=0.1),
    ),
    Comparison(
      "multires",
      size,
      (x, high, weight, y, inside),
      lambda *grid: losses.multires_pixel_contrast(losses.FusedGrid(*map(maps, grid))),
      dense_kernels.multires_pixel_contrast,
      lambda *a: torch_kernels.multires_pixel_contrast(*a),
      trained=3,
    ),
  ]


def region(rng, scale: int) -> list[Comparison]:
  """RCCR's contrast of two 65x65 grids with a full queue."""
  side, rows = int(65 / scale**0.5), 24_000 // scale
  shape = (2, side, side)
  x, positive = unit(rng.normal(size=(2, 2 * side * side, 128))).astype(np.float32)
  y = patches(rng, shape, 19).reshape(-1)
  valid = np.ones(len(x), np.float32)  # the whole image is the box, the teacher always confident
  bank = unit(rng.normal(size=(rows, 128))).astype(np.float32)
  bank_label = rng.integers(0, 19, rows).astype(np.int32)
  maps = lambda a: a.reshape(*shape, *a.shape[1:])
  return [
    Comparison(
      "region",
      f"N={len(x)} M={rows} A=128",
      (x, positive, y, valid, bank, bank_label),
      lambda x, t, y, w, bank, label: losses.region_contrast(
        maps(x), maps(t), maps(y), bank, label, weights=maps(w), first_rows=rows
      ),
      functools.partial(dense_kernels.region_contrast, temperature=0.1),
      lambda *a: torch_kernels.region_contrast(*a, temperature=0.1),
    )
  ]


def confeti(rng, scale: int) -> list[Comparison]:
  """CONFETI's prototype update at labels of 512x512."""
  side, dim, classes = int(512 / scale**0.5) // 8 * 8, 512, 19
  features = rng.normal(size=(2, side // 8, side // 8, dim)).astype(np.float32)
  cam = rng.random((2, side // 8, side // 8, classes), np.float32)
  label = patches(rng, (2, side, side), classes, cell=32)
  prototypes, counts = np.zeros((classes, dim), np.float32), np.zeros(classes, np.float32)
  state = cam_prototypes.CamPrototypes
  return [
    Comparison(
      "prototypes",
      f"labels {side}x{side} A={dim}",
      (prototypes, counts, features, cam, label),
      lambda p, n, f, w, y: cam_prototypes.update(state(p, n), f, w, y),
      dense_kernels.cam_prototypes,
      lambda *a: torch_kernels.cam_prototypes(*a),
      trained=0,
      channels_first=(2, 3),
    )
  ]


def compile_jax(function: Callable, args: tuple, trained: int) -> tuple[Callable, float]:
  """The compiled value and gradient, and the size of its temporaries in MB."""
  if trained:
    function = jax.value_and_grad(function, tuple(range(trained)))
  compiled = jax.jit(function).lower(*args).compile()
  run = lambda: jax.block_until_ready(compiled(*args))
  return run, compiled.memory_analysis().temp_size_in_bytes / MB


def prepare_torch(comparison: Comparison) -> Callable:
  """The PyTorch version's value and gradient."""
  tensors = [
    torch.from_numpy(np.moveaxis(a, -1, 1).copy() if i in comparison.channels_first else a).to(
      torch.get_default_device()
    )
    for i, a in enumerate(comparison.args)
  ]
  tensors = [t if t.is_floating_point() else t.long() for t in tensors]
  trained = tensors[: comparison.trained]

  def run():
    for tensor in trained:
      tensor.requires_grad_()
    loss = comparison.plain(*tensors)
    result = (loss, torch.autograd.grad(loss, trained)) if trained else loss
    if torch.cuda.is_available():
      torch.cuda.synchronize()
    return result

  return run


def check(name: str, ours: Any, other: Any) -> None:
  """The versions must agree, or their times mean nothing."""
  numbers = lambda tree: [np.asarray(a, np.float32) for a in jax.tree.leaves(tree)]
  for a, b in zip(numbers(ours), numbers(other), strict=True):
    scale = max(np.abs(b).max(), 1e-9)
    if np.abs(a - b).max() > 2e-3 * scale:
      raise SystemExit(f"{name}: the versions differ by {np.abs(a - b).max() / scale:.1e}")


def fastest(runs: dict[str, Callable], repeats: int) -> dict[str, float]:
  """Milliseconds of the fastest of `repeats` turns; the first turn of each is not timed."""
  best = dict.fromkeys(runs, float("inf"))
  for turn in range(repeats + 1):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      if turn:
        best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
  return best


def measure(comparison: Comparison, repeats: int) -> str:
  """One line of the table."""
  args = tuple(jnp.asarray(a) for a in comparison.args)
  ours, ours_mb = compile_jax(comparison.ours, args, comparison.trained)
  dense, dense_mb = compile_jax(comparison.dense, args, comparison.trained)
  check(comparison.name, ours(), dense())
  runs = {"ours": ours, "dense": dense}
  if torch:
    runs["torch"] = prepare_torch(comparison)
    flat = lambda tree: [t.detach().cpu().numpy() for t in jax.tree.leaves(tree)]
    check(comparison.name, ours(), flat(runs["torch"]()))
  ms = fastest(runs, repeats)
  line = (
    f"{comparison.name:11} {comparison.size:26} {ms['ours']:8.2f} {ours_mb:7.0f} "
    f"{ms['dense']:8.2f} {dense_mb:7.0f} {ms['dense'] / ms['ours']:7.2f}"
  )
  return line + (f" {ms['torch']:8.2f} {ms['torch'] / ms['ours']:7.2f}" if torch else "")


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--only", default="", help="names of kernels to measure, by comma")
  parser.add_argument("--repeats", type=int, default=3, help="timed turns of each version")
  parser.add_argument("--scale", type=int, default=1, help="divide the number of pixels")
  args = parser.parse_args()
  if torch and jax.default_backend() == "gpu":
    torch.set_default_device("cuda")
  rng = np.random.default_rng(0)
  wanted = set(filter(None, args.only.split(",")))
  print(
    f"{jax.devices()[0].device_kind}, jax {jax.__version__}, torch {torch and torch.__version__}"
  )
  print(
    f"{'kernel':11} {'size':26} {'ours ms':>8} {'MB':>7} {'dense ms':>8} {'MB':>7} {'ratio':>7}"
    + (f" {'torch ms':>8} {'ratio':>7}" if torch else "")
  )
  for group in (sepico, pairs, region, confeti):
    for comparison in group(rng, args.scale):
      if not wanted or comparison.name in wanted:
        print(measure(comparison, args.repeats), flush=True)


if __name__ == "__main__":
  main()
