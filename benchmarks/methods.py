"""Cost of every method's training step beside plain self-training (`dacs`): time, compiling, temporaries.

  python benchmarks/methods.py [--methods dacs,sepico_bank] [--turns 10] [--size 128x256]

MiT-B0 with DAFormer's head from random weights, 19 classes, 2 + 2 images, after every term has started.
A method takes turns with `dacs` in one process, and a ratio is the median of those within a turn, so that
ratios hold when the machine's speed drifts. Leave the machine alone while it runs.

"beside" is the time of all that is not a network's pass or an optimizer: draws, views, pseudo-labels,
losses with their gradient by the student's outputs, memory; measured as a program of its own
(`method_terms.py`). "extra" is how much more of it there is than in `dacs`, as a share of the step without
it: what the method's terms cost beyond the passes, which are listed at the end of the line.
The training of auxiliary networks is in neither.
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import method_terms
import numpy as np

from jax_uda import methods, models
from jax_uda.cli import host_memory
from jax_uda.common import mesh as mesh_lib
from jax_uda.step import teacher
from jax_uda.step.learner import Learner
from jax_uda.step.method import Method, Task
from jax_uda.step.state import TrainState

BATCH, CLASSES, WARM_UP = 2, 19, 1
MIB = 2**20
BASE = "dacs"
NETWORK = dict(encoder="mit_b0", decoder="daformer")
TASK = Task(CLASSES, (1 / CLASSES,) * CLASSES)


def settings_of(size: tuple[int, int]) -> dict[str, dict[str, Any]]:
  """The published settings; sizes in pixels and numbers of cells are scaled to the image.

  Without vfm_uda, which hides tokens of a ViT.
  """
  sepico = lambda variant: dict(name="sepico", contrast=dict(variant=variant), crop_target=False)
  spcl = lambda **settings: dict(
    name="spcl", feature_dim=256, similarity=dict(source_pass=False, **settings)
  )
  cells = BATCH * (size[0] // 8) * (size[1] // 8)
  return {
    BASE: dict(name="dacs"),
    "source_only": dict(name="source_only"),
    "daformer": dict(name="daformer"),
    "mic": dict(name="mic", masked=dict(block=min(size) // 16)),
    "cluda": dict(name="cluda", pixel_contrasted=dict(grid=tuple(side // 8 + 1 for side in size))),
    "sepico_prototype": sepico("prototype"),
    "sepico_distribution": sepico("distribution"),
    "sepico_bank": sepico("bank"),
    "spcl": spcl(),
    "spcl_target": spcl(target="target"),
    "spcl_warm_up": dict(name="spcl_warm_up"),
    "rccr": dict(
      name="rccr",
      region_consistent=dict(source="fused", pool=2, contrast=dict(num_rows=min(4000, cells // 4))),
    ),
    "confeti_joint": dict(name="confeti", stage=1),
    "confeti_last": dict(name="confeti", stage=2),
    "confetii": dict(name="confetii", contrast=dict(fraction=0.3)),
  }


def parse_args() -> argparse.Namespace:
  known = list(settings_of((128, 256)))
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--methods", default=",".join(known), help=f"some of {', '.join(known)}")
  parser.add_argument("--turns", type=int, default=10, help="timed steps of each side")
  parser.add_argument("--size", default="128x256", help="height x width, multiples of 32")
  args = parser.parse_args()
  args.methods = [BASE, *(name for name in args.methods.split(",") if name != BASE)]
  for name in args.methods:
    if name not in known:
      parser.error(f"--methods has {name!r}; known are {', '.join(known)}")
  args.size = tuple(int(side) for side in args.size.split("x"))
  return args


def make_batch(size: tuple[int, int], images: int = BATCH):
  """Blocks of color with noise, `images` of each domain."""
  rng = np.random.default_rng(0)
  blocks = rng.integers(0, CLASSES, (images, size[0] // 16, size[1] // 16))
  label = np.kron(blocks, np.ones((1, 16, 16), int))
  color = rng.integers(0, 256, (CLASSES, 3))
  image = np.clip(color[label] + rng.normal(0, 20, (*label.shape, 3)), 0, 255).astype(np.uint8)
  return {
    "source": {"image": image, "label": label.astype(np.uint8)},
    "target": {"image": image[:, ::-1].copy()},
  }


@dataclasses.dataclass
class Side:
  """A compiled step with its state, and the seconds of its timed turns."""

  step: Any
  current: TrainState
  compile_seconds: float
  terms: method_terms.Terms | None = None
  seconds: list[float] = dataclasses.field(default_factory=list)
  terms_seconds: list[float] = dataclasses.field(default_factory=list)

  @property
  def temporaries(self) -> float:
    return self.step.memory_analysis().temp_size_in_bytes / MIB

  def turn(self, batch, timed: bool) -> None:
    start = time.perf_counter()
    self.current, metrics = self.step(self.current, batch)
    jax.block_until_ready((self.current.student, metrics))
    if timed:
      self.seconds.append(time.perf_counter() - start)

  def turn_of_terms(self, timed: bool) -> None:
    start = time.perf_counter()
    self.terms.run()
    if timed:
      self.terms_seconds.append(time.perf_counter() - start)


def compile_side(
  method: Method,
  batch,
  size: tuple[int, int],
  network: Mapping[str, Any] = NETWORK,
  *,
  with_terms: bool = False,
) -> Side:
  """The step of a method with a network, an argument of `models.build`."""
  learner = Learner(
    models.build(**network, num_classes=CLASSES),
    method,
    schedule=lambda step: 6e-5,
    teacher_rule=teacher.Rule(0.999),
    mesh=mesh_lib.data_mesh(1),
  )
  current = learner.init(seed=0, image_size=size)
  terms = method_terms.compile_terms(learner, current, batch) if with_terms else None
  start = time.perf_counter()
  compiled = learner.step_of(method.phases[-1]).lower(current, batch).compile()
  return Side(compiled, current, time.perf_counter() - start, terms)


def row_of(name: str, side: Side, base: Side) -> str:
  """A line of the table, of the turns that both took just now."""
  ratios = [a / b for a, b in zip(side.seconds, base.seconds, strict=True)]
  step, *terms = map(statistics.median, (side.seconds, side.terms_seconds, base.terms_seconds))
  extra = terms[0] - terms[1]
  cells = (
    f"{1e3 * step:.0f}",
    f"{1e3 * min(side.seconds):.0f}",
    f"{statistics.median(ratios):.2f}",
    f"{1e3 * terms[0]:.0f}",
    f"{extra / (step - extra):+.1%}",
    f"{side.compile_seconds:.1f}",
    f"{side.temporaries:.0f}",
  )
  passes = ", ".join(sorted(side.terms.passes))
  return name.ljust(20) + "".join(f"{cell:>11s}" for cell in cells) + f"  {passes}"


def take_turns(sides: Sequence[Side], batch, turns: int) -> None:
  for side in sides:
    side.seconds.clear()
    side.terms_seconds.clear()
  for turn in range(WARM_UP + turns):
    for side in sides:
      side.turn(batch, turn >= WARM_UP)
      side.turn_of_terms(turn >= WARM_UP)


def main() -> None:
  args = parse_args()
  load = os.getloadavg()[0]
  print(
    f"{BATCH} + {BATCH} images of {args.size[0]}x{args.size[1]}, {jax.default_backend()}, "
    f"{os.cpu_count()} cores, {args.turns} turns; "
    f"load before {load:.1f}{': too much, do not trust the times' if load > 1 else ''}"
  )
  columns = ("ms", "min", f"/ {BASE}", "beside ms", "extra", "compile s", "temp. MiB")
  print("method".ljust(20) + "".join(f"{column:>11s}" for column in columns), flush=True)
  batch, base = make_batch(args.size), None
  for name in args.methods:
    method = methods.build(TASK, **settings_of(args.size)[name])
    side = compile_side(method, batch, args.size, with_terms=True)
    base = base or side
    take_turns([base] if side is base else [base, side], batch, args.turns)
    print(row_of(name, side, base), flush=True)
    # A system has room for about 16 such programs: each is thousands of mappings of memory.
    del method, side
    jax.clear_caches()


if __name__ == "__main__":
  host_memory.use_huge_pages()  # as `main.py` does
  main()
