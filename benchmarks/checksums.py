"""Cost of the checksums of a checkpoint: what they add to saving it, and to reading it again.

  python benchmarks/checksums.py [--mebibytes 256] [--turns 5]

The time of the processor for the checksums of a state of so many MiB, in 40 arrays of float32 on the first
device. It is spent twice: once when the state is saved, once when it is read. Medians over turns.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from jax_uda.run import integrity

ARRAYS = 40


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--mebibytes", type=float, default=256.0, help="of the state")
  parser.add_argument("--turns", type=int, default=5, help="timed turns")
  return parser.parse_args()


def main() -> None:
  args = parse_args()
  size = max(int(args.mebibytes * 2**20 / 4 / ARRAYS), 1)
  rng = np.random.default_rng(0)
  state = {f"array {i}": jax.device_put(rng.random(size, np.float32)) for i in range(ARRAYS)}
  seconds = []
  for _ in range(1 + args.turns):
    began = time.process_time()
    integrity.checksums(state)
    seconds.append(time.process_time() - began)
  megabytes = 4 * size * ARRAYS / 1e6
  milliseconds = 1e3 * statistics.median(seconds[1:]) / megabytes
  print(f"{milliseconds:.2f} ms per MB, {megabytes:.0f} MB on {jax.devices()[0].device_kind}")


if __name__ == "__main__":
  main()
