"""Speed of a training step with and without `jax_uda.cli.host_memory.use_huge_pages`.

  python benchmarks/host_memory.py [--turns 3] [--steps 20]

DACS with EfficientNet-Lite0 on 4 + 4 images of 96x128, as in the recipes for CamVid. The C library reads
its settings at the start, so each side is a process of its own. The sides take turns, and a ratio is the
median over turns.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys

from jax_uda.cli import host_memory

SIZE, IMAGES, WARM_UP = (96, 128), 4, 3
NETWORK = dict(
  encoder="efficientnet_lite0",
  decoder="light",
  encoder_options=dict(strides=(4, 8, 16, 32), frozen_statistics=True),
  decoder_options=dict(width=64),
)
SIDES = {"as it is": "", "huge pages": host_memory.SETTING}  # value of the variable


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--turns", type=int, default=3, help="processes of each side")
  parser.add_argument("--steps", type=int, default=20, help="timed steps of a process")
  # What such a process does.
  parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
  return parser.parse_args()


def measure(steps: int) -> None:
  """Prints the seconds per step, the seconds of it in the kernel, and MiB of temporaries."""
  import methods as steps_of  # the benchmark beside this one; JAX begins here

  from jax_uda import methods

  batch = steps_of.make_batch(SIZE, IMAGES)
  step = steps_of.compile_side(methods.build(steps_of.TASK, name="dacs"), batch, SIZE, NETWORK)
  in_kernel = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_stime
  for number in range(WARM_UP + steps):
    if number == WARM_UP:
      before = in_kernel()
    step.turn(batch, timed=number >= WARM_UP)
  print(statistics.median(step.seconds), (in_kernel() - before) / steps, step.temporaries)


def run(side: str, steps: int) -> list[float]:
  """Runs a process of one side and returns the numbers that it prints."""
  command = [sys.executable, __file__, "--side", "--steps", str(steps)]
  environment = os.environ | {host_memory.VARIABLE: SIDES[side]}
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
  return list(map(float, done.stdout.split()))


def main() -> None:
  args = parse_args()
  if args.side:
    measure(args.steps)
    return
  turns = [{side: run(side, args.steps) for side in SIDES} for _ in range(args.turns)]
  for side in SIDES:
    seconds, kernel, temporaries = map(
      statistics.median, zip(*(t[side] for t in turns), strict=True)
    )
    print(
      f"{side:10s} {1e3 * seconds:.0f} ms a step, {1e3 * kernel:.0f} ms of CPU time in the kernel, "
      f"{temporaries:.0f} MiB of temporaries"
    )
  ratios = [turn["as it is"][0] / turn["huge pages"][0] for turn in turns]
  print(f"{statistics.median(ratios):.2f} times as fast with huge pages")


if __name__ == "__main__":
  main()
