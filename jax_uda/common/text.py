"""Names of files in messages: whatever a name holds, a terminal gets printable text."""

import os


def _escaped(character: str) -> str:
  """A character, or its escape if it would steer a terminal, is no character, or turns text around."""
  code = ord(character)
  if character.isprintable():
    return character
  if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8, as `os.fsdecode` keeps it
    return f"\\x{code - 0xDC00:02x}"
  return character.encode("unicode_escape").decode()


def shown(name: str | os.PathLike[str]) -> str:
  r"""A name or a path for a message: one line of printable characters.

  Control characters and bytes that are not UTF-8 are written as escapes. Usual names stay as they are.

  >>> shown("a\x1b[31m.png")
  'a\\x1b[31m.png'
  """
  return "".join(map(_escaped, os.fspath(name)))


def printable(text: str) -> str:
  """A text of several lines for a terminal: as `shown`, but line breaks and tabs stay."""
  return "".join(c if c in "\n\t" else _escaped(c) for c in text)
