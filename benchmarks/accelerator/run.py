"""Runs all parts on a machine with an accelerator; README.md says how to get there.

python benchmarks/accelerator/run.py --out=results --minutes=8 [--parts=steps,kernels] [--dry]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = ("parity", "steps", "torch_steps", "attention", "kernels")  # the most valuable first


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--out", required=True, help="folder of the results")
  parser.add_argument("--minutes", type=float, default=8, help="time for all parts together")
  parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, with commas")
  parser.add_argument("--dry", action="store_true", help="tiny sizes, on any machine")
  args = parser.parse_args()
  out = pathlib.Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  end = time.monotonic() + 60 * args.minutes
  environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
  for part in args.parts.split(","):
    left = end - time.monotonic()
    if left < 5:
      print(f"{part}: no time left", flush=True)
      continue
    command = [sys.executable, str(HERE / f"{part}.py"), str(out / f"{part}.json")]
    began = time.monotonic()
    try:
      code = subprocess.run(
        command + ["--dry"] * args.dry, env=environment, cwd=ROOT, timeout=left
      ).returncode
    except subprocess.TimeoutExpired:
      code = "stopped: the time is over"
    print(f"{part}: {code}, {time.monotonic() - began:.0f} s", flush=True)
    (out / f"{part}.status.json").write_text(json.dumps({"exit": code}) + "\n")


if __name__ == "__main__":
  main()
