"""Speed of the demo's training step, beside the same step in plain PyTorch where torch is installed.

  python benchmarks/demo_step.py [--steps 20] [--threads 2] [--compile]

The network, sizes and optimizer are those of `configs/demo.py`; the method is DACS with pseudo-labels
weighted by the confident fraction of the batch. One process measures everything in turns, so that
ratios hold when the machine's speed drifts, and both sides augment in the same steps. A ratio is
images/s of jax_uda divided by images/s of PyTorch: above 1, jax_uda is faster. Leave the machine
alone while it runs: other load slows PyTorch's threads, which wait for each other, more than XLA's.
"""

import argparse
import dataclasses
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import losses, methods, models
from jax_uda.cli import host_memory
from jax_uda.common import mesh as mesh_lib
from jax_uda.methods.requirements import class_weights
from jax_uda.ops import pixels, resize
from jax_uda.step import teacher as teacher_lib
from jax_uda.step import train_step
from jax_uda.step.context import Passes, named_key
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task, with_unit_images
from jax_uda.step.state import TrainState
from jax_uda.views import strong

BATCH, SIZE, CLASSES = 8, (64, 96), 11
FREQUENCY = (0.2, 0.18, 0.015, 0.35, 0.03, 0.12, 0.01, 0.012, 0.07, 0.008, 0.005)
THRESHOLD, DECAY, POWER = 0.9, 0.99, 0.3
WARM_UP = 2  # turns that are not timed


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=20, help="timed steps of each side")
  parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads for both")
  parser.add_argument(
    "--compile", action="store_true", help="also time torch.compile (needs a C++ compiler, minutes)"
  )
  return parser.parse_args()


@dataclasses.dataclass
class Side:
  """Something to time: `run(turn)` does the work of one step and waits for it."""

  name: str
  run: Callable[[int], Any]
  images: int = 0  # that one step trains on; 0 for a part of a step
  seconds: list[float] = dataclasses.field(default_factory=list)

  @property
  def median(self) -> float:
    return statistics.median(self.seconds)

  def line(self) -> str:
    speed = f"{self.images / self.median:10.1f}" if self.images else ""
    return f"{self.name:52s}{1e3 * self.median:10.1f}{1e3 * min(self.seconds):8.1f}{speed}"


def make_batch():
  """Blocks of color with noise: something the networks can be confident about."""
  rng = np.random.default_rng(0)
  label = np.kron(rng.integers(0, CLASSES, (BATCH, 8, 12)), np.ones((1, 8, 8), int))
  color = rng.integers(0, 256, (CLASSES, 3))
  image = np.clip(color[label] + rng.normal(0, 20, (*label.shape, 3)), 0, 255).astype(np.uint8)
  return {
    "source": {"image": image, "label": label.astype(np.uint8)},
    "target": {"image": image[:, ::-1].copy()},
  }


class Ours:
  """The demo's network, one learner per method."""

  def __init__(self):
    self.model = models.build(encoder="compact", decoder="light", num_classes=CLASSES)
    self.task = Task(CLASSES, FREQUENCY, mean_color=self.model.image_mean)
    source = dict(source_augmentation=True, class_weight_power=POWER)
    settings = {
      "source_only": source,
      "dacs": dict(self_training=dict(pseudo_threshold=THRESHOLD, **source)),
    }
    self.learners = {
      name: Learner(
        self.model,
        methods.build(self.task, name=name, **settings),
        schedule=lambda step: 2e-3,
        teacher_rule=teacher_lib.Rule(DECAY),
        mesh=mesh_lib.data_mesh(1),
      )
      for name, settings in settings.items()
    }

  def initial(self, name: str) -> TrainState:
    return self.learners[name].init(seed=0, image_size=SIZE)

  def draws(self, step, batch):
    """The random numbers of DACS in the given step of a run from `initial`."""
    key = jax.random.fold_in(jax.random.key(0), step)
    return self.learners["dacs"].method.draw(named_key(key, "draws"), batch)

  def gates(self, batch, steps: int) -> np.ndarray:
    """bool [steps, 2, 2]: (source, mixed) x (jitter, blur); `source_only` has the source's."""
    draws = jax.vmap(lambda step: self.draws(step, batch))(jnp.arange(steps))["self_training"]
    is_open = lambda d: jnp.stack(
      [d.jitter_gate > strong.JITTER_GATE, d.blur_gate > strong.BLUR_GATE], -1
    )
    return np.stack([is_open(draws.source), is_open(draws.mixed)], 1)


def step_side(ours: Ours, name: str, batch) -> Side:
  """The whole training step; prints what compiling took."""
  current = ours.initial(name)
  start = time.perf_counter()
  compiled = ours.learners[name].step_of(phase=0).lower(current, batch).compile()
  seconds, memory = time.perf_counter() - start, compiled.memory_analysis()
  print(
    f"{name}: compiled in {seconds:.1f} s; temporaries {memory.temp_size_in_bytes / 2**20:.0f} MiB, "
    f"arguments {memory.argument_size_in_bytes / 2**20:.0f} MiB"
  )

  def run(turn):
    del turn  # the state counts for itself
    nonlocal current
    current, metrics = compiled(current, batch)
    return jax.block_until_ready(metrics)

  return Side(f"jax_uda {name}", run, images=2 * BATCH if name == "dacs" else BATCH)


def pieces(ours: Ours, batch) -> list[Side]:
  """The parts of the adaptation step, each compiled alone."""
  learner = ours.learners["dacs"]
  model, method = learner.model, learner.method
  params = ours.initial("dacs").student["params"]
  opt_state, weights = learner.optimizer.init(params), class_weights(ours.task, POWER)

  def logits(params, image):
    return model.apply({"params": params}, image, train=False, use_running_average=False).logits

  def views(params, batch, step):
    network = train_step.teacher_network(model, method.teacher_outputs)
    return method.make_views(ours.draws(step, batch), batch, Passes(network, {"params": params}))

  def augment(image, batch, step):
    draws = ours.draws(step, batch)["self_training"]
    return [strong.augment(image, d) for d in (draws.source, draws.mixed)]

  def loss(params, image, label):
    full = resize.bilinear(logits(params, image), SIZE)
    return losses.weighted_cross_entropy(full, label, class_weights=weights)

  def update(grads, opt_state, params, step):
    updates, opt_state = learner.optimizer.update(grads, opt_state, params)
    moved = jax.tree.map(jnp.add, params, updates)
    return moved, opt_state, teacher_lib.update(params, moved, step, DECAY)

  batch = with_unit_images(batch)
  image, label = batch["source"]["image"], batch["source"]["label"]

  def side(name, function, operands):
    function = jax.jit(function)
    return Side(name, lambda turn: jax.block_until_ready(function(*operands(turn))))

  return [
    side("  teacher forward", logits, lambda turn: (params, image)),
    side("  augmentation of source and mixed images", augment, lambda turn: (image, batch, turn)),
    side("  views: both of these, pseudo-labels, mix", views, lambda turn: (params, batch, turn)),
    side("  student, one view: forward", loss, lambda turn: (params, image, label)),
    side(
      "  student, one view: loss and gradient",
      jax.value_and_grad(loss),
      lambda turn: (params, image, label),
    ),
    side("  optimizer and moving average", update, lambda turn: (params, opt_state, params, turn)),
  ]


def torch_sides(ours: Ours, batch, args: argparse.Namespace) -> list[Side]:
  """The same steps in PyTorch, after a check that the network is the same; [] without torch."""
  try:
    import torch
  except ImportError:
    print("torch is not installed: no comparison")
    return []
  import torch_demo_step

  torch.set_num_threads(args.threads)
  weights = np.asarray(class_weights(ours.task, POWER)).tolist()
  to_torch = lambda a: torch.tensor(np.moveaxis(a, -1, 1).copy())
  source, target = (to_torch(batch[name]["image"]) for name in ("source", "target"))
  label = torch.tensor(batch["source"]["label"].astype(np.int64))
  gates = ours.gates(batch, 1 + WARM_UP + args.steps).tolist()
  layouts = {
    "channels first": {},
    "channels last": {"channels_last": True},
  } | ({"torch.compile": {"compiled": True}} if args.compile else {})

  def side(name, adapt, layout):
    step = torch_demo_step.Step(
      CLASSES,
      ours.model.image_mean,
      ours.model.image_std,
      weights,
      adapt=adapt,
      threshold=THRESHOLD,
      decay=DECAY,
      **layouts[layout],
    )
    run = lambda turn: step(source, label, target, gates[turn])
    return Side(f"PyTorch {name}, {layout}", run, images=2 * BATCH if adapt else BATCH)

  check_same_network(torch_demo_step.Net(CLASSES), ours, batch)
  return [side(name, name == "dacs", layout) for name in ours.learners for layout in layouts]


def check_same_network(net, ours: Ours, batch) -> None:
  """Copies weights of ours into PyTorch's network and compares the logits."""
  import torch

  rng = np.random.default_rng(0)
  # Residual branches and the context start at zero: without noise they would not be compared.
  params = jax.tree.map(
    lambda p: np.asarray(p + 0.05 * rng.standard_normal(p.shape), np.float32),
    ours.initial("dacs").student["params"],
  )
  tensors = {}
  for path, value in jax.tree.leaves_with_path(params):
    *module, leaf = (key.key for key in path)
    if value.ndim == 4:
      value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 2:
      value = value.T[..., None, None]
    name = ".".join([*module, "bias" if leaf == "bias" else "weight"])
    tensors[name] = torch.tensor(value.copy())
  net.load_state_dict(tensors)  # strict: every name and shape must fit
  image = pixels.to_unit(batch["source"]["image"])
  expected = np.asarray(
    ours.model.apply({"params": params}, image, train=False, use_running_average=True).logits
  )
  with torch.no_grad():
    standardised = pixels.standardise(image, ours.model.image_mean, ours.model.image_std)
    actual = net(torch.tensor(np.moveaxis(np.asarray(standardised), -1, 1).copy())).numpy()
  difference = np.abs(np.moveaxis(actual, 1, -1) - expected).max()
  counts = [sum(p.size for p in jax.tree.leaves(params)), sum(p.numel() for p in net.parameters())]
  print(
    f"same network: max difference {difference:.1e} of logits up to {np.abs(expected).max():.1f}; "
    f"{counts[0]:,} and {counts[1]:,} parameters"
  )
  if counts[0] != counts[1] or not difference <= 1e-4 * max(1, np.abs(expected).max()):
    raise SystemExit("the networks differ: the comparison below would mean nothing")


def print_ratio(ours: Side, rivals: list[Side], name: str) -> None:
  best = min(rivals, key=lambda side: side.median)
  fastest = min(min(side.seconds) for side in rivals) / min(ours.seconds)
  print(
    f"{name}: jax_uda / PyTorch = {best.median / ours.median:.2f} (medians; fastest steps "
    f"{fastest:.2f}), {best.name.split(', ')[1]}"
  )


def main() -> None:
  args = parse_args()
  # XLA takes its number of threads from the allowed cores, when it runs for the first time.
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.threads]))
  load = os.getloadavg()[0]
  print(
    f"{BATCH} + {BATCH} images of {SIZE[0]}x{SIZE[1]}, {args.threads} threads, {args.steps} steps each; "
    f"load before {load:.1f}{': too much, do not trust the ratios' if load > 1 else ''}"
  )
  batch, ours = make_batch(), Ours()
  steps = {name: step_side(ours, name, batch) for name in ours.learners}
  for side in steps.values():
    side.run(0)  # step 0; the turns below are steps 1, 2, …
  # Before anything else is loaded; compiling needs more than running.
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
  print(f"peak resident memory of compiling and running these: {peak:.0f} MiB")
  sides = [*steps.values(), *pieces(ours, batch), *torch_sides(ours, batch, args)]
  for turn in range(1, 1 + WARM_UP + args.steps):
    for side in sides:
      time.sleep(0.01)  # until the threads of the side before stop spinning
      start = time.perf_counter()
      side.run(turn)
      if turn > WARM_UP:
        side.seconds.append(time.perf_counter() - start)
  print(f"{'':52s}{'median ms':>10s}{'min':>8s}{'images/s':>10s}")
  print("\n".join(side.line() for side in sides))
  for name, side in steps.items():
    rivals = [other for other in sides if other.name.startswith(f"PyTorch {name},")]
    for compiled in (False, True):
      group = [other for other in rivals if other.name.endswith("torch.compile") == compiled]
      if group:
        print_ratio(side, group, name)


if __name__ == "__main__":
  host_memory.use_huge_pages()  # as `main.py` does
  main()
