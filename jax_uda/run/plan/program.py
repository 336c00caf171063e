"""What a compiled program moves: read from its optimized HLO text.

XLA's own analysis counts the body of a loop once. Here a body counts as often as it runs, as far as the
compiler knows the number of rounds.
"""

import collections
import functools
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_ORIGIN = re.compile(r'op_name="([^"]*)"')
_OPERAND = re.compile(r"%([\w.\-]+)")
_BITS = {"pred": 8, "token": 0, "opaque": 0}

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# They move nothing, or what they call is counted.
_FREE = {
  *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "while", "conditional"),
  *("call", "after-all", "partition-id", "replica-id", "iota", "optimization-barrier"),
}


class Instruction(NamedTuple):
  """A line of a computation.

  Attributes:
    name: Its name.
    shape: The text of its type.
    opcode: What it does.
    rest: Its operands and attributes.
    is_root: Whether it is the result of the computation.
  """

  name: str
  shape: str
  opcode: str
  rest: str
  is_root: bool

  @property
  def operands(self) -> list[str]:
    """The names of its operands."""
    return _OPERAND.findall(self.rest.split("), ")[0])


class Collective(NamedTuple):
  """An exchange between devices.

  Attributes:
    kind: One of `KINDS`.
    num_bytes: Bytes of its result on one device, for one run of it.
    times: How often it runs in a step.
    origin: The operation of the traced function that it serves.
  """

  kind: str
  num_bytes: int
  times: int
  origin: str


def num_bytes(shape: str) -> int:
  """Bytes of the arrays in the text of a type, without padding.

  >>> num_bytes("(f32[2,3]{1,0:T(8,128)}, pred[])")
  25
  """
  total = 0
  for dtype, sides in _ARRAY.findall(shape):
    bits = _BITS.get(dtype) if dtype in _BITS else int(re.search(r"\d+", dtype)[0])  # pyright: ignore
    total += math.prod(int(side) for side in sides.split(",") if side) * (bits or 0) // 8
  return total


class Program:
  """The computations of an optimized HLO module."""

  def __init__(self, text: str):
    """Reads the text of `compiled.as_text()`."""
    self._computations: dict[str, list[Instruction]] = {}
    self._entry = name = ""
    for line in text.splitlines():
      if opening := _COMPUTATION.match(line):
        name = opening[2]
        self._computations[name] = []
        self._entry = name if opening[1] else self._entry
      elif instruction := _INSTRUCTION.match(line):
        is_root, *parts = instruction.groups()
        self._computations[name].append(Instruction(*parts, is_root=bool(is_root)))

  @functools.cached_property
  def _runs(self) -> dict[str, int]:
    """How often each computation runs in a call of the program."""
    runs: dict[str, int] = collections.Counter()
    waiting = [(self._entry, 1)]
    while waiting:
      name, times = waiting.pop()
      runs[name] += times
      for instruction in self._computations.get(name, ()):
        rounds = _ROUNDS.search(instruction.rest) if instruction.opcode == "while" else None
        called = _CALLED.findall(instruction.rest)
        for names in _BRANCHES.findall(instruction.rest):
          called += _OPERAND.findall(names)
        waiting += [(other, times * int(rounds[1] if rounds else 1)) for other in called]
    return runs

  def collectives(self) -> list[Collective]:
    """The exchanges of a step, the largest first.

    The compiler writes one exchange in several pieces with the same channel; the largest piece counts.
    """
    largest: dict[object, Collective] = {}
    for name, times in self._runs.items():
      for instruction in self._computations.get(name, ()):
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
          continue
        size = num_bytes(instruction.shape)
        if instruction.opcode in ("all-gather-start", "collective-permute-start"):
          size //= 2  # their type holds the operand, too; a lower bound for a gather
        origin = _ORIGIN.search(instruction.rest)
        new = Collective(kind, size, times, origin[1] if origin else "")
        channel = _CHANNEL.search(instruction.rest)
        key = channel[1] if channel else (name, instruction.name)
        if key not in largest or new.num_bytes > largest[key].num_bytes:
          largest[key] = new
    return sorted(largest.values(), key=lambda item: -item.num_bytes * item.times)

  def bytes_moved(self) -> int:
    """Bytes that a device reads from and writes to its memory in a step; an estimate.

    Each instruction reads its operands and writes its result. Slices of an array count as slices.
    """
    inside = {
      name
      for instructions in self._computations.values()
      for instruction in instructions
      if instruction.opcode != "while"
      for name in _CALLED.findall(instruction.rest)
    } - self._called_by(("conditional", "call"))
    return sum(
      times * sum(self._moved_by(item, sizes) for item in self._computations[name])
      for name, times in self._runs.items()
      if name in self._computations and name not in inside
      for sizes in [{item.name: num_bytes(item.shape) for item in self._computations[name]}]
    )

  def _called_by(self, opcodes: Iterable[str]) -> set[str]:
    return {
      name
      for instructions in self._computations.values()
      for instruction in instructions
      if instruction.opcode in opcodes
      for name in _CALLED.findall(instruction.rest)
    }

  def _moved_by(self, instruction: Instruction, sizes: dict[str, int]) -> int:
    opcode, result = instruction.opcode, sizes[instruction.name]
    if opcode in _FREE or opcode.endswith("-done"):
      return 0
    operands = instruction.operands
    if opcode in ("dynamic-slice", "slice", "gather"):
      return 2 * result
    if opcode in ("dynamic-update-slice", "scatter"):
      return 2 * sizes.get(operands[1], 0)
    reads = [sizes.get(name, 0) for name in operands]
    if opcode == "fusion":
      reads, result = self._of_fusion(instruction, reads, result)
    return sum(reads) + result

  def _of_fusion(
    self, instruction: Instruction, reads: list[int], result: int
  ) -> tuple[list[int], int]:
    """Bytes read of each operand and written, where a fusion slices an operand or writes a slice."""
    called = _CALLED.search(instruction.rest)
    body = self._computations.get(called[1], []) if called else []
    sizes = {item.name: num_bytes(item.shape) for item in body}
    for item in body:
      if item.opcode == "parameter" and (number := re.match(r"(\d+)\)", item.rest)):
        users = [other for other in body if item.name in other.operands]
        is_sliced = lambda user, name=item.name: (
          user.opcode == "dynamic-slice" and user.operands[0] == name
        )
        if users and all(map(is_sliced, users)):
          reads[int(number[1])] = sum(sizes[user.name] for user in users)
      if item.is_root and item.opcode == "dynamic-update-slice":
        result = sizes.get(item.operands[1], result)
    return reads, result
