"""Runs all parts on a machine with an accelerator; README.md says how to get there.

  python benchmarks/accelerator/run.py --out=results --minutes=8 [--parts=steps,kernels] [--dry]

Several processes compile at a time; then one after another measures, with the card for itself. Ten at a time were
too many for 16 cores: XLA tries kernels on the card while it compiles.
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
# Processes per part, the most valuable first.
PARTS = {
  "steps": (
    "dacs_vit_large",
    "dacs_segformer",
    "daformer",
    "daformer_shift",
    "mic",
    "vfm_uda_large",
    "sepico",
    "cluda",
  ),
  "torch_steps": ("vit_large", "segformer_b5"),
  "parity": ("steps", "models", "losses", "memory"),
  "attention": ("",),
  "kernels": ("",),
}
DRY = {
  "parity": ("losses",),
  "steps": ("dacs",),
  "torch_steps": ("segformer_b5", "vit_large"),
  "attention": ("",),
  "kernels": ("",),
}
SHARE_OF_COMPILING = 0.75  # of the time
PREPARED = ("steps", "torch_steps")  # compile, then wait for their turn


@dataclasses.dataclass
class Job:
  """A process of a part."""

  part: str
  name: str
  turn: pathlib.Path
  process: subprocess.Popen | None = None

  def start(self, out: pathlib.Path, dry: bool, seconds: float) -> None:
    """Starts it; a prepared one stops at its turn, and parity stops after `seconds`."""
    results = out / f"{'.'.join(filter(None, (self.part, self.name)))}.json"
    command = [sys.executable, str(HERE / f"{self.part}.py"), str(results)]
    command += ["--dry"] * dry + ([f"--only={self.name}"] if self.name else [])
    environment = os.environ | {
      "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
      "DEADLINE": str(time.time() + seconds),
    }
    if self.part in PREPARED:
      environment["TURN"] = str(self.turn)
    with results.with_suffix(".log").open("w") as log:
      self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)

  def ready(self) -> bool:
    """Whether it waits for its turn, or has ended."""
    assert self.process
    waits = self.part in PREPARED and pathlib.Path(f"{self.turn}.ready").exists()
    return waits or self.process.poll() is not None

  def finish(self, seconds: float) -> str:
    """Gives it its turn, and waits for its end."""
    assert self.process
    pathlib.Path(f"{self.turn}.go").touch()
    try:
      return f"exit {self.process.wait(max(seconds, 1))}"
    except subprocess.TimeoutExpired:
      self.process.kill()
      return "stopped: the time is over"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--out", required=True, help="folder of the results")
  parser.add_argument("--minutes", type=float, default=8, help="time for all parts together")
  parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, with commas")
  parser.add_argument("--only", default="", help="names of processes to run, with commas")
  parser.add_argument(
    "--at_once", type=int, help="processes that compile at a time; a quarter of the cores"
  )
  parser.add_argument("--dry", action="store_true", help="tiny sizes, on any machine")
  args = parser.parse_args()
  out = pathlib.Path(args.out).absolute()
  (out / "turns").mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  end = began + 60 * args.minutes
  wanted = set(filter(None, args.only.split(",")))
  jobs = [
    Job(part, name, out / "turns" / f"{part}.{name}")
    for part in args.parts.split(",")
    for name in (DRY if args.dry else PARTS)[part]
    if not wanted or name in wanted
  ]
  early = [job for job in jobs if job.part in ("parity", *PREPARED)]
  compiling = SHARE_OF_COMPILING * (end - began)
  at_once = args.at_once or max(2, (os.cpu_count() or 2) // 4)
  waiting, running = list(early), []
  while (waiting or running) and time.monotonic() < began + compiling:
    for job in [job for job in running if job.ready()]:
      print(f"{job.part} {job.name}: ready after {time.monotonic() - began:.0f} s", flush=True)
      running.remove(job)
    while waiting and len(running) < at_once:
      running.append(waiting.pop(0))
      running[-1].start(out, args.dry, began + compiling - time.monotonic())
    time.sleep(0.1)
  late = [*running, *waiting]
  for job in late:
    if job.process:
      job.process.kill()
    print(f"{job.part} {job.name}: not ready in time", flush=True)
  for job in jobs:
    if job in late or job.part == "parity":
      continue
    start = time.monotonic()
    if job.process is None:
      job.start(out, args.dry, end - start)
    print(
      job.part, job.name, job.finish(end - start), f"{time.monotonic() - start:.0f} s", flush=True
    )
  for path in (out / "turns").iterdir():
    path.unlink()
  (out / "turns").rmdir()


if __name__ == "__main__":
  main()
