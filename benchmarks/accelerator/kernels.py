"""The losses alone, by benchmarks/kernels.py."""

import pathlib
import subprocess
import sys

import measure

if __name__ == "__main__":
  args = measure.arguments(__doc__)
  results = measure.Results(args.results)
  script = pathlib.Path(__file__).parents[1] / "kernels.py"
  flags = ["--repeats=1", "--scale=64"] if args.dry else []
  done = subprocess.run([sys.executable, str(script), *flags], capture_output=True, text=True)
  results.add(
    "kernels", {"exit": done.returncode, "text": (done.stdout + done.stderr[-2000:]).splitlines()}
  )
