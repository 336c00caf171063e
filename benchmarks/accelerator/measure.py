"""What the parts share: arguments, results that are written at once, and timing."""

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any


class Results:
  """Figures by name, written to a JSON file whenever one is added."""

  def __init__(self, path: str):
    """Takes the path of the file."""
    self._path, self._figures = pathlib.Path(path), {}

  def add(self, name: str, figures: dict[str, Any]) -> None:
    """Adds the figures of one measurement and prints them."""
    self._figures[name] = figures
    self._path.write_text(json.dumps(self._figures, indent=1) + "\n")
    print(name, json.dumps(figures), flush=True)

  def attempt(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Adds what `measure` returns, or why it failed: the next measurement may still succeed."""
    try:
      figures = measure()
    except Exception as error:  # out of memory, an operation that a version lacks, …
      figures = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    self.add(name, figures)


def arguments(description: str | None) -> argparse.Namespace:
  """The file of the results, whether sizes are tiny, and the name of what is measured."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("results")
  parser.add_argument("--dry", action="store_true")
  parser.add_argument("--only", help="the one measurement of this process")
  return parser.parse_args()


def wait_for_turn() -> None:
  """Says that this process is compiled, and returns when the card is free for its measurement.

  `run.py` sets TURN: many processes compile at a time, and one measures.
  """
  turn = os.environ.get("TURN")
  if not turn:
    return
  pathlib.Path(f"{turn}.ready").touch()
  while not pathlib.Path(f"{turn}.go").exists():
    time.sleep(0.05)


def seconds_of(run: Callable[[], Any], *, dry: bool, limit: float = 15) -> float:
  """The median time of up to 20 runs after two others, within about `limit` seconds."""
  run()
  began = time.perf_counter()
  run()
  repeats = max(3, min(20, int(limit / (time.perf_counter() - began))))
  return median_seconds(run, warm_up=0, repeats=2 if dry else repeats)


def median_seconds(run: Callable[[], Any], *, warm_up: int, repeats: int) -> float:
  """The median time of `run`, which returns when its work is done."""
  for _ in range(warm_up):
    run()
  times = []
  for _ in range(repeats):
    began = time.perf_counter()
    run()
    times.append(time.perf_counter() - began)
  return statistics.median(times)
