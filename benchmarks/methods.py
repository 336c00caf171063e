"""Cost of every method's training step beside plain self-training (`dacs`): time, compiling, temporaries.

  python benchmarks/methods.py [--methods dacs,sepico_bank] [--turns 10] [--size 128x256]

MiT-B0 with DAFormer's head from random weights, 19 classes, 2 + 2 images, after every term has started.
A method takes turns with `dacs` in one process, and a ratio is the median of those within a turn, so that
ratios hold when the machine's speed drifts. Leave the machine alone while it runs.

Each method is run a second time as its passes only: same views, same outputs of the student, the teacher
and the reference, with gradient, same optimizer, but the mean square of those outputs as its loss, and no
memory. What the method takes beyond that, less what the losses of `dacs` take beyond theirs, is the cost
of its own terms: "terms" is its share of the step without it. A second player trains in both.
"""

import argparse
import copy
import dataclasses
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import ema, host_memory, methods, models, optimizer, state, train_step
from jax_uda.methods.base import Method, Task
from jax_uda.objectives import Objective, Result

BATCH, CLASSES, WARM_UP = 2, 19, 1
MIB = 2**20
BASE = "dacs"
NETWORK = dict(encoder="mit_b0", decoder="daformer")
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
TASK = Task(CLASSES, MEAN, STD, (1 / CLASSES,) * CLASSES)


def settings_of(size: tuple[int, int]) -> dict[str, dict[str, Any]]:
  """The published settings; sizes in pixels and numbers of cells are scaled to the image.

  Without vfm_uda, which hides tokens of a ViT.
  """
  sepico = lambda variant: dict(name="sepico", variant=variant, crop_target=False)
  cells = BATCH * (size[0] // 8) * (size[1] // 8)
  return {
    BASE: dict(name="dacs"),
    "source_only": dict(name="source_only"),
    "daformer": dict(name="daformer"),
    "mic": dict(name="mic", mask_block=min(size) // 16),
    "cluda": dict(name="cluda", grid=tuple(side // 8 + 1 for side in size)),
    "sepico_prototype": sepico("prototype"),
    "sepico_distribution": sepico("distribution"),
    "sepico_bank": sepico("bank"),
    "spcl": dict(name="spcl", feature_dim=256, survey=False),
    "spcl_target": dict(name="spcl", feature_dim=256, target="target", survey=False),
    "spcl_warm_up": dict(name="spcl_warm_up"),
    "rccr": dict(name="rccr", source="fused", pool=2, num_rows=min(4000, cells // 4)),
    "confeti_joint": dict(name="confeti", stage=1),
    "confeti_last": dict(name="confeti", stage=2),
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


class Watched:
  """`Outputs` that note what is read of them; the rest is never computed."""

  def __init__(self, outputs, read: list):
    self._outputs, self._read = outputs, read

  def __getattr__(self, name: str):
    value = getattr(self._outputs, name)
    if name == "heads":
      return WatchedHeads(value, self._read)
    self._read.append(value)
    return value


class WatchedHeads(dict):
  """Their dictionary of heads."""

  def __init__(self, heads: dict, read: list):
    super().__init__(heads)
    self._read = read

  def __getitem__(self, name: str):
    self._read.append(super().__getitem__(name))
    return self._read[-1]


def passes_only(method: Method, names: list[str]) -> Method:
  """`method` whose loss is the mean square of what it reads; the views passed are put into `names`."""

  def watch(ctx, read: list):
    watched = copy.copy(ctx)

    def network(kind: str):
      def outputs(view, **options):
        if (label := f"{kind} {view}") not in names:
          names.append(label)
        return Watched(getattr(ctx, kind)(view, **options), read)

      return outputs

    def reference(view):
      read.append(ctx.reference(view))
      return read[-1]

    watched.student, watched.teacher = network("student"), network("teacher")
    watched.reference = reference
    return watched

  def apply(objective_state, ctx) -> Result:
    read = []
    method.objective.apply(objective_state, watch(ctx, read))  # of its results nothing is used
    # Squares, as the gradient of a sum is a constant, which the compiler takes advantage of.
    floats = [x for x in jax.tree.leaves(read) if jnp.issubdtype(x.dtype, jnp.floating)]
    loss = sum((jnp.mean(x.astype(jnp.float32) ** 2) for x in floats), jnp.float32(0))
    return Result(loss, objective_state, {})

  return method._replace(objective=Objective(method.objective.init, apply))


def make_batch(size: tuple[int, int], images: int = BATCH):
  """Blocks of colour with noise, `images` of each domain."""
  rng = np.random.default_rng(0)
  blocks = rng.integers(0, CLASSES, (images, size[0] // 16, size[1] // 16))
  label = np.kron(blocks, np.ones((1, 16, 16), int))
  colour = rng.integers(0, 256, (CLASSES, 3))
  image = np.clip(colour[label] + rng.normal(0, 20, (*label.shape, 3)), 0, 255).astype(np.uint8)
  return {
    "source": {"image": image, "label": label.astype(np.uint8)},
    "target": {"image": image[:, ::-1].copy()},
  }


@dataclasses.dataclass
class Side:
  """A compiled step with its state, and the seconds of its timed turns."""

  step: Any
  current: state.TrainState
  compile_seconds: float
  seconds: list[float] = dataclasses.field(default_factory=list)

  @property
  def temporaries(self) -> float:
    return self.step.memory_analysis().temp_size_in_bytes / MIB

  def turn(self, batch, timed: bool) -> None:
    start = time.perf_counter()
    self.current, metrics = self.step(self.current, batch)
    jax.block_until_ready((self.current.student, metrics))
    if timed:
      self.seconds.append(time.perf_counter() - start)


Sides = tuple[Side, Side]  # a method, and its passes only


def compile_side(
  method: Method, batch, size: tuple[int, int], network: Mapping[str, Any] = NETWORK
) -> Side:
  """The step of a method with a network, an argument of `models.build`."""
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  model = models.build(**network, num_classes=CLASSES, heads=heads)
  schedule = lambda step: 6e-5
  optimizer_ = optimizer.build(schedule, start_steps=method.start_steps)
  player = method.player(schedule) if method.player else None
  step = train_step.make_train_step(
    model,
    method,
    optimizer_,
    teacher_rule=ema.Rule(0.999),
    player=player,
    phase_start=max(method.gates, default=0),
  )
  create = lambda: state.create(model, method, optimizer_, image_size=size, seed=0, player=player)
  current = jax.jit(create)()
  start = time.perf_counter()
  compiled = jax.jit(step, donate_argnums=0).lower(current, batch).compile()
  return Side(compiled, current, time.perf_counter() - start)


def own_terms(whole: Side, passes: Side, base: Side, base_passes: Side) -> float:
  """Time of a method's own terms over that of its step without them."""
  turns = zip(whole.seconds, passes.seconds, base.seconds, base_passes.seconds, strict=True)
  costs = [((w - p) - (b - q), w) for w, p, b, q in turns]
  return statistics.median(cost / (seconds - cost) for cost, seconds in costs)


def row_of(name: str, sides: Sides, base: Sides) -> str:
  """A line of the table, of the turns that both took just now."""
  (whole, passes), (base_whole, base_passes) = sides, base
  ratio = lambda side, other: statistics.median(
    a / b for a, b in zip(side.seconds, other.seconds, strict=True)
  )
  cells = (
    f"{1e3 * statistics.median(whole.seconds):.0f}",
    f"{1e3 * min(whole.seconds):.0f}",
    f"{ratio(whole, base_whole):.2f}",
    f"{1e3 * statistics.median(passes.seconds):.0f}",
    f"{ratio(passes, base_passes):.2f}",
    f"{own_terms(whole, passes, base_whole, base_passes):+.1%}",
    f"{whole.compile_seconds:.1f}",
    f"{whole.temporaries:.0f}",
  )
  return name.ljust(20) + "".join(f"{cell:>11s}" for cell in cells)


def take_turns(sides: Sequence[Side], batch, turns: int) -> None:
  for side in sides:
    side.seconds.clear()
  for turn in range(WARM_UP + turns):
    for side in sides:
      side.turn(batch, turn >= WARM_UP)


def main() -> None:
  args = parse_args()
  load = os.getloadavg()[0]
  print(
    f"{BATCH} + {BATCH} images of {args.size[0]}x{args.size[1]}, {jax.default_backend()}, "
    f"{os.cpu_count()} cores, {args.turns} turns; "
    f"load before {load:.1f}{': too much, do not trust the times' if load > 1 else ''}"
  )
  columns = ("ms", "min", f"/ {BASE}", "passes ms", f"/ {BASE}", "terms", "compile s", "temp. MiB")
  print("method".ljust(20) + "".join(f"{column:>11s}" for column in columns), flush=True)
  batch, base = make_batch(args.size), None
  of = lambda method: compile_side(method, batch, args.size)
  for name in args.methods:
    method, passed = methods.build(TASK, **settings_of(args.size)[name]), []
    sides = (of(method), of(passes_only(method, passed)))
    base = base or sides
    take_turns((*base, *sides) if sides is not base else base, batch, args.turns)
    print(f"{row_of(name, sides, base)}  {', '.join(sorted(passed))}", flush=True)
    # A system has room for about 16 such programs: each is thousands of mappings of memory.
    del method, sides
    jax.clear_caches()


if __name__ == "__main__":
  host_memory.use_huge_pages()  # as `main.py` does
  main()
