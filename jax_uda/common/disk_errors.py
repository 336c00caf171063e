"""What a person is told when a disk is full, must not be written, or does not work."""

import contextlib
import errno
import fnmatch
import os
import pathlib
from collections.abc import Iterator

from jax_uda.common.text import shown

AGAIN = "start the same command again, which continues"
_RIGHTS = f"change the rights there and {AGAIN}; or choose another place"
# What to do, by the kind of error.
ADVICE = {
  errno.ENOSPC: f"free some space on that disk, and {AGAIN}",
  errno.EDQUOT: f"free some space of your quota on that disk, and {AGAIN}",
  errno.EROFS: f"make that disk writable and {AGAIN}; or choose another place",
  errno.EACCES: _RIGHTS,
  errno.EPERM: _RIGHTS,
  errno.EIO: f"the disk or its connection fails: look into the log of the system, and {AGAIN}",
  errno.ESTALE: f"the network disk was mounted anew: {AGAIN}",
}
# What the files in the folder of a run are for; a pattern of names or, with a slash, of paths.
PURPOSES = {
  "run.lock": "which keeps a second run out of the folder",
  "config.json": "the config of the run",
  "data.json": "which says what the data of the run hold",
  "classes.json": "the classes that the network predicts",
  "versions.json": "the versions of the packages",
  "parameters.txt": "the table of the parameters",
  "*init_weights.json": "which notes the weight file that the run began with",
  "bad_batches.json": "the batches that the run leaves out",
  "metrics*.jsonl": "the log of the training",
  "events.out.tfevents*": "the log for TensorBoard",
  "results.json": "the scores of the run",
  "confusion.npz": "the confusion counts of the report",
  "figures.json": "the step whose figures are drawn",
  "examples.npz": "the example images of the report",
  "prototypes.npz": "the prototypes of the report",
  "projection_start.npz": "the embeddings before the training",
  "best.json": "which says which checkpoint is the best",
  "report.html": "the report",
  "plan.json": "what the steps need",
  "thresholds.json": "the summary of the pseudo-labels",
  "*.safetensors": "exported weights",
  "check_*": "what the check of the data tells",
  "predictions": "the folder of the predictions",
  "*/predictions/*.png": "the predicted classes of an image",
  "*/pseudo_labels/*.png": "the pseudo-labels of an image",
  "*.png": "a picture of the report",
}


def code_of(error: BaseException) -> int | None:
  """Which of the kinds of `ADVICE` an error is, also one that a library has put into words."""
  if isinstance(error, OSError) and error.errno in ADVICE:
    return error.errno
  text = str(error)
  return next((code for code in ADVICE if os.strerror(code) in text), None)


def sentence(error: OSError) -> str:
  """What a person is told: the file, what it is for, what is wrong, and what to do; "" for other errors."""
  if error.errno not in ADVICE:
    return ""
  problem = f"{error.strerror}; {ADVICE[error.errno]}"
  if not error.filename:
    return problem
  path = os.fsdecode(error.filename)
  purpose = purpose_of(path)
  return f"{shown(path)}{f' ({purpose})' if purpose else ''}: {problem}"


def purpose_of(path: str) -> str:
  """What a file in the folder of a run is for, as a part of a sentence; "" if it is none of ours."""
  name = pathlib.PurePath(path).name
  fits = lambda pattern: fnmatch.fnmatchcase(path if "/" in pattern else name, pattern)
  return next((purpose for pattern, purpose in PURPOSES.items() if fits(pattern)), "")


@contextlib.contextmanager
def naming(path: pathlib.Path, temporary: pathlib.Path | None = None) -> Iterator[None]:
  """Puts the name of a file into errors about writing it; the system names none when a disk is full.

  Args:
    path: The file.
    temporary: What stands for it while it is written.
  """
  try:
    yield
  except OSError as error:
    other = None if error.filename is None else pathlib.Path(os.fsdecode(error.filename))
    if other not in (None, path, temporary) and other.exists():
      raise  # about another file
    code = error.errno or errno.ENOSPC  # NumPy says how many numbers it could write, and no code
    raise OSError(code, os.strerror(code), str(path)) from error
