"""Texts that reach a terminal."""


def printable(text: str) -> str:
  """The text with control characters and bytes that are no UTF-8 escaped; line ends and tabs stay.

  Names of files may hold any bytes, among them those that clear a screen or hide what follows.

  >>> printable("a\x1b[2Jb")
  'a\\x1b[2Jb'
  """
  keep = lambda character: character.isprintable() or character in "\n\t"
  escaped = lambda character: character.encode("unicode_escape", "surrogatepass").decode("ascii")
  return "".join(c if keep(c) else escaped(c) for c in text)
