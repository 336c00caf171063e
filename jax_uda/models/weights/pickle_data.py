"""Reads a pickle as data: nothing that it names is imported, called or altered.

A pickle is a program. `pickletools` of the standard library takes it apart into steps; this file carries
them out on plain values alone. Where the program asks for a call, a new object or a changed one, the
result is a `Record` of that wish. So a file may hold objects of any class, and none of them comes alive.
"""

import dataclasses
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, Protocol

# The programs of large training runs have some 300 000 steps. A step makes one small object at most, so
# that this many need less than 200 MB.
MAX_STEPS = 2_000_000

# Functions that no file needs to store numbers. Nothing would call them here; but a file that asks for
# them was meant to harm somebody, and its reader should know.
HARMFUL = {
  **dict.fromkeys(
    ("builtins", "__builtin__"), {"eval", "exec", "execfile", "compile", "__import__"}
  ),
  **dict.fromkeys(
    ("os", "posix", "nt"), {"system", "popen", "execv", "execve", "spawnv", "remove"}
  ),
  **dict.fromkeys(("subprocess", "commands", "pty", "runpy", "webbrowser", "shutil"), None),
}


class Readable(Protocol):
  """What `load` needs of a file."""

  def read(self, count: int, /) -> bytes:
    """At most `count` bytes; less at the end of the file alone."""
    ...

  def readline(self) -> bytes:
    """The bytes up to the next end of a line, and that."""
    ...


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
  """A class or function that a pickle names."""

  module: str
  name: str

  def __str__(self) -> str:
    """The full name, with its unprintable characters escaped."""
    return ascii(f"{self.module}.{self.name}"[:200])[1:-1]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
  """Something that is stored outside the pickle."""

  pid: Any


@dataclasses.dataclass(slots=True, eq=False)
class Record:
  """An object that a pickle asks for, as data.

  Attributes:
    maker: What would be called, a `Global` in honest files.
    arguments: The arguments of the call.
    state: What would be set on the object afterwards.
    items: What would be appended to it.
    entries: What would be stored in it by key.
  """

  maker: Any
  arguments: Any = ()
  state: Any = None
  items: list[Any] = dataclasses.field(default_factory=list)
  entries: dict[Any, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Key:
  """A key of a mapping that is neither text nor a number of usual size; equal to nothing but itself."""

  value: Any


def load(file: Readable, references: list[Reference] | None = None) -> Any:
  """Returns what the next pickle in `file` describes: plain containers, scalars and `Record`s.

  Sets come as lists, frozen sets as tuples.

  Args:
    file: A binary file, whose position is behind the pickle afterwards.
    references: A list to which everything is appended that the pickle refers to outside itself.

  Raises:
    pickle.UnpicklingError: The bytes are no pickle, or not a complete one.
    LookupError: The program takes what it has not put there.
    ValueError: The program is too long, or asks for something that is meant to do harm.
  """
  machine = _Machine([] if references is None else references)
  steps = pickletools.genops(file)  # type: ignore[arg-type]
  for _ in range(MAX_STEPS):
    try:
      opcode, argument, _ = next(steps)
    except StopIteration:
      raise pickle.UnpicklingError("the pickle has no end") from None
    except (ValueError, OverflowError) as error:
      raise pickle.UnpicklingError(str(error)) from None
    if opcode.name == "STOP":
      return machine.stack.pop()
    machine.run(opcode.name, argument)
  raise ValueError(f"its pickle has more than {MAX_STEPS} steps, far more than weights need")


class _Machine:
  """The stack and the memo of a pickle's program."""

  def __init__(self, references: list[Reference]):
    self.references = references
    self.stack: list[Any] = []
    self.below: list[list[Any]] = []  # what lies below each mark
    self.memo: dict[int, Any] = {}

  def run(self, step: str, argument: Any) -> None:
    """Carries out one step."""
    if step in CONSTANTS:
      self.stack.append(CONSTANTS[step])
    elif step in LITERALS:
      self.stack.append(argument)
    elif step in STEPS:
      STEPS[step](self, argument)
    elif step not in IGNORED:
      raise ValueError(f"its pickle has the step {step}, which weights do not need")

  def to_mark(self) -> list[Any]:
    """Takes everything above the newest mark."""
    above, self.stack = self.stack, self.below.pop()
    return above

  def take(self, count: int) -> list[Any]:
    """Takes the topmost values, in the order in which they were put there."""
    taken = [self.stack.pop() for _ in range(count)]
    return taken[::-1]

  def mark(self, _: Any) -> None:
    """Begins a list of values."""
    self.below.append(self.stack)
    self.stack = []

  def pop(self, _: Any) -> None:
    """Forgets the topmost value or, if there is none, the newest mark."""
    if self.stack:
      self.stack.pop()
    else:
      self.to_mark()

  def forget(self, _: Any) -> None:
    """Forgets everything above the newest mark."""
    self.to_mark()

  def put(self, index: int) -> None:
    """Keeps the topmost value under a number."""
    self.memo[index] = self.stack[-1]

  def name(self, module: Any, name: Any) -> Global:
    """A class or function, which is not imported."""
    if not isinstance(module, str) or not isinstance(name, str):
      raise pickle.UnpicklingError("a name is no text")
    wish = Global(module, name)
    if module in HARMFUL and (HARMFUL[module] is None or name in HARMFUL[module]):
      raise ValueError(
        f"its pickle asks for {wish}, which has no place in weights; the file was made to run something, "
        "so do not load it with anything else either"
      )
    return wish

  def refer(self, pid: Any) -> Reference:
    """A reference to something outside the pickle."""
    self.references.append(Reference(pid))
    return self.references[-1]

  def extend(self, items: list[Any]) -> None:
    """Appends to the list or the record below."""
    target = self.stack[-1]
    if isinstance(target, Record):
      target.items.extend(items)
    elif isinstance(target, list):
      target.extend(items)
    else:
      raise pickle.UnpicklingError("items are appended to what is no list")

  def store(self, flat: list[Any]) -> None:
    """Stores keys and values, by turns in `flat`, in the mapping or the record below."""
    target = self.stack[-1]
    target = target.entries if isinstance(target, Record) else target
    if not isinstance(target, dict):
      raise pickle.UnpicklingError("entries are stored in what is no mapping")
    target.update(_entries(flat))

  def build(self, _: Any) -> None:
    """Notes the state of a record. Whatever else the program would alter stays as it is."""
    (state,) = self.take(1)
    if isinstance(self.stack[-1], Record):
      self.stack[-1].state = state


def _entries(flat: list[Any]) -> dict[Any, Any]:
  """A mapping of keys and values that come by turns."""
  # The hash of a nested tuple may take for ever, and numbers can be chosen such that they collide.
  plain = lambda key: isinstance(key, str | bytes) or isinstance(key, int) and abs(key) < 2**60
  keys = (key if plain(key) else Key(key) for key in flat[::2])
  return dict(zip(keys, flat[1::2], strict=False))


Step = Callable[[_Machine, Any], None]


def _push(make: Callable[[_Machine, Any], Any]) -> Step:
  """The step that puts the result of `make` on the stack."""

  def step(machine: _Machine, argument: Any) -> None:
    result = make(machine, argument)  # may leave another stack
    machine.stack.append(result)

  return step


IGNORED = ("PROTO", "FRAME")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = {
  *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
  *("STRING", "BINSTRING", "SHORT_BINSTRING"),
  *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
  *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
STEPS: dict[str, Step] = {
  "MARK": _Machine.mark,
  "POP": _Machine.pop,
  "POP_MARK": _Machine.forget,
  "DUP": _push(lambda m, _: m.stack[-1]),
  # containers
  **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), _push(lambda m, _: [])),
  "EMPTY_DICT": _push(lambda m, _: {}),
  "LIST": _push(lambda m, _: m.to_mark()),
  **dict.fromkeys(("TUPLE", "FROZENSET"), _push(lambda m, _: tuple(m.to_mark()))),
  "TUPLE1": _push(lambda m, _: tuple(m.take(1))),
  "TUPLE2": _push(lambda m, _: tuple(m.take(2))),
  "TUPLE3": _push(lambda m, _: tuple(m.take(3))),
  "DICT": _push(lambda m, _: _entries(m.to_mark())),
  "APPEND": lambda m, _: m.extend(m.take(1)),
  **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m.extend(m.to_mark())),
  "SETITEM": lambda m, _: m.store(m.take(2)),
  "SETITEMS": lambda m, _: m.store(m.to_mark()),
  # memo
  **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
  "MEMOIZE": lambda m, _: m.put(len(m.memo)),
  **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _push(lambda m, index: m.memo[index])),
  # what would come alive elsewhere
  "GLOBAL": _push(lambda m, text: m.name(*text.split(" ", 1))),
  "STACK_GLOBAL": _push(lambda m, _: m.name(*m.take(2))),
  **dict.fromkeys(("REDUCE", "NEWOBJ"), _push(lambda m, _: Record(*m.take(2)))),
  "NEWOBJ_EX": _push(lambda m, _: Record(*m.take(3)[:2])),
  "INST": _push(lambda m, text: Record(m.name(*text.split(" ", 1)), tuple(m.to_mark()))),
  "OBJ": _push(lambda m, _: Record((items := m.to_mark())[0], tuple(items[1:]))),
  "BUILD": _Machine.build,
  "PERSID": _push(lambda m, text: m.refer(text)),
  "BINPERSID": _push(lambda m, _: m.refer(*m.take(1))),
}
