"""Speed of the demo's training step, beside the same step in plain PyTorch where torch is installed.

  python benchmarks/demo_step.py [--steps 20] [--threads 2]

One process measures everything, in turns, so that the ratios hold when the machine's speed drifts.
"""

import argparse
import dataclasses
import os
import resource
import statistics
import time

BATCH, SIZE, CLASSES = 8, (64, 96), 11


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=20, help="timed steps of each side")
  parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads for both")
  return parser.parse_args()


args = parse_args()
if hasattr(os, "sched_setaffinity"):  # XLA takes its number of threads from the allowed cores
  os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.threads]))

import jax  # noqa: E402
import numpy as np  # noqa: E402

from jax_uda import methods, models, optimizer, state, train_step  # noqa: E402
from jax_uda.methods.base import Task, class_weights  # noqa: E402

FREQUENCY = (0.2, 0.18, 0.015, 0.35, 0.03, 0.12, 0.01, 0.012, 0.07, 0.008, 0.005)
THRESHOLD, DECAY, POWER = 0.9, 0.99, 0.3


@dataclasses.dataclass
class Side:
  """Something to time: `run()` does one step and waits for it."""

  name: str
  run: object
  seconds: list[float] = dataclasses.field(default_factory=list)

  @property
  def median(self) -> float:
    return statistics.median(self.seconds)

  @property
  def images_per_second(self) -> float:
    return 2 * BATCH / self.median


def make_batch():
  """Blocks of colour with noise: something the networks can be confident about."""
  rng = np.random.default_rng(0)
  label = np.kron(rng.integers(0, CLASSES, (BATCH, 8, 12)), np.ones((1, 8, 8), int))
  colour = rng.integers(0, 256, (CLASSES, 3))
  image = np.clip(colour[label] + rng.normal(0, 20, (*label.shape, 3)), 0, 255).astype(np.uint8)
  return {
    "source": {"image": image, "label": label.astype(np.uint8)},
    "target": {"image": image[:, ::-1].copy()},
  }


def jax_side(method_name: str, batch) -> tuple[Side, dict]:
  """Our step; also its compile time, memory, network and task."""
  model = models.build(encoder="compact", decoder="light", num_classes=CLASSES)
  task = Task(CLASSES, model.image_mean, model.image_std, FREQUENCY)
  settings = dict(source_augmentation=True, class_weight_power=POWER)
  if method_name == "dacs":
    settings["pseudo_threshold"] = THRESHOLD
  method = methods.build(task, name=method_name, **settings)
  tx = optimizer.build(lambda step: 2e-3)
  current = state.create(model, method, tx, image_size=SIZE, seed=0)
  params = jax.device_get(current.student["params"])
  step = train_step.make_train_step(model, method, tx, ema_decay=DECAY)
  start = time.perf_counter()
  compiled = jax.jit(step, donate_argnums=0).lower(current, batch).compile()
  facts = {
    "compile": time.perf_counter() - start,
    "memory": compiled.memory_analysis(),
    "model": model,
    "task": task,
    "params": params,
  }

  def run():
    nonlocal current
    current, metrics = compiled(current, batch)
    return jax.block_until_ready(metrics)

  return Side(f"jax_uda {method_name}", run), facts


def pieces(facts, batch) -> list[Side]:
  """The parts of the adaptation step, each compiled alone."""
  model, task = facts["model"], facts["task"]
  variables = {"params": facts["params"]}
  method = methods.build(task, name="dacs", source_augmentation=True, pseudo_threshold=THRESHOLD)
  image = methods.base.standardise(batch["source"]["image"], task)
  tx = optimizer.build(lambda step: 2e-3)
  forward = jax.jit(lambda v, x: model.apply(v, x, train=False, use_running_average=False).logits)

  @jax.jit
  def views(variables, key):
    passes = train_step.Passes(train_step.teacher_pass(model), variables)
    return method.views(method.draw(key, batch), batch, passes)

  @jax.jit
  def backward(params, x):
    return jax.grad(lambda p: forward({"params": p}, x).sum() ** 2)(params)

  @jax.jit
  def update(params, opt_state):
    updates, opt_state = tx.update(params, opt_state, params)
    return jax.tree.map(lambda p, u, t: (p + u, 0.99 * t), params, updates, params), opt_state

  params, opt_state = facts["params"], tx.init(facts["params"])
  counter = iter(range(10**9))  # new draws at each call: the gates open and close as in training
  wait = jax.block_until_ready
  return [
    Side("teacher forward", lambda: wait(forward(variables, image))),
    Side(
      "views: teacher, pseudo-labels, mix, augmentation",
      lambda: wait(views(variables, jax.random.key(next(counter)))),
    ),
    Side("student forward + backward, one view of 8", lambda: wait(backward(params, image))),
    Side("optimizer + teacher", lambda: wait(update(params, opt_state))),
  ]


def torch_sides(facts, batch) -> list[Side]:
  """The same steps in PyTorch, after a check that the network is the same; [] without torch."""
  try:
    import torch
  except ImportError:
    print("torch is not installed: no comparison")
    return []
  import torch_demo_step

  torch.set_num_threads(args.threads)
  task = facts["task"]
  weights = np.asarray(class_weights(task, POWER)).tolist()
  to_torch = lambda a: torch.tensor(np.moveaxis(a, -1, 1).copy())
  source, target = (to_torch(batch[name]["image"]) for name in ("source", "target"))
  label = torch.tensor(batch["source"]["label"].astype(np.int64))
  sides = []
  for adapt in (False, True):
    for channels_last in (False, True):
      step = torch_demo_step.Step(
        CLASSES,
        task.image_mean,
        task.image_std,
        weights,
        adapt=adapt,
        threshold=THRESHOLD,
        decay=DECAY,
      )
      if channels_last:
        for net in (step.student, step.teacher):
          net.to(memory_format=torch.channels_last)
      layout = "channels last" if channels_last else "channels first"
      name = f"PyTorch {'dacs' if adapt else 'source_only'}, {layout}"
      sides.append(Side(name, lambda step=step: step(source, label, target)))
  check_same_network(step.student, facts, batch)
  return sides


def check_same_network(net, facts, batch) -> None:
  """Copies our weights into PyTorch's network and compares the logits."""
  import torch

  flat = {
    ".".join(key.key for key in path): np.asarray(value)
    for path, value in jax.tree.leaves_with_path(facts["params"])
  }
  tensors = {}
  for name, value in flat.items():
    module, leaf = name.rsplit(".", 1)
    if value.ndim == 4:
      value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 2:
      value = value.T[..., None, None]
    tensors[f"{module}.{'bias' if leaf == 'bias' else 'weight'}"] = torch.tensor(value.copy())
  before = {name: value.clone() for name, value in net.state_dict().items()}
  net.load_state_dict(tensors)  # strict: every name and shape must fit
  image = methods.base.standardise(batch["source"]["image"], facts["task"])
  ours = (
    facts["model"]
    .apply({"params": facts["params"]}, image, train=False, use_running_average=True)
    .logits
  )
  with torch.no_grad():
    theirs = net(torch.tensor(np.moveaxis(np.asarray(image), -1, 1).copy()))
  error = np.abs(np.moveaxis(theirs.numpy(), 1, -1) - ours).max() / np.abs(ours).max()
  count = sum(value.size for value in flat.values())
  print(f"same network: {count:,} parameters, logits differ by {error:.1e} of their maximum")
  net.load_state_dict(before)


def main() -> None:
  batch = make_batch()
  ours, facts = {}, {}
  for name in ("source_only", "dacs"):
    ours[name], facts[name] = jax_side(name, batch)
  parts = pieces(facts["dacs"], batch)
  sides = [*ours.values(), *parts, *torch_sides(facts["dacs"], batch)]
  for turn in range(args.steps + 2):
    for side in sides:
      start = time.perf_counter()
      side.run()
      if turn >= 2:  # the first two warm up
        side.seconds.append(time.perf_counter() - start)
  print(
    f"{BATCH} + {BATCH} images of {SIZE[0]}x{SIZE[1]}, {args.threads} threads, {args.steps} steps each"
  )
  print(f"{'':52s}{'median ms':>10s}{'min':>8s}{'images/s':>10s}")
  for side in sides:
    speed = f"{side.images_per_second:10.1f}" if side not in parts else ""
    print(f"{side.name:52s}{1e3 * side.median:10.1f}{1e3 * min(side.seconds):8.1f}{speed}")
  for name, fact in facts.items():
    memory = fact["memory"]
    print(
      f"{name}: compiled in {fact['compile']:.1f} s; temporaries "
      f"{memory.temp_size_in_bytes / 2**20:.0f} MiB, arguments "
      f"{memory.argument_size_in_bytes / 2**20:.0f} MiB"
    )
  print(
    f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB"
  )
  for name, side in ours.items():
    rivals = [other for other in sides if other.name.startswith(f"PyTorch {name},")]
    if rivals:
      best = min(rivals, key=lambda other: other.median)
      ratio = best.median / side.median
      print(f"{name}: jax_uda is {ratio:.2f} times as fast as {best.name} (medians)")


if __name__ == "__main__":
  main()
