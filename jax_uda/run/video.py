"""Videos: their frames in order, and a video of pictures. The optional extra `video` brings PyAV."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
CODECS = ("libx264", "mpeg4")  # the first that this PyAV can write with


def is_video(file: pathlib.Path) -> bool:
  """Whether the name of a file ends as those of videos do."""
  return file.suffix.lower() in ENDINGS


def _library(file: pathlib.Path) -> Any:
  try:
    import av
  except ImportError:
    raise ValueError(
      f'{file} is a video, which PyAV reads: pip install av, or this package with "[video]".'
    ) from None
  return av


def check_library(file: pathlib.Path) -> None:
  """Raises ValueError if PyAV, which reads the video, is not installed."""
  _library(file)


def _open(file: pathlib.Path) -> Any:
  """The container of a video; raises ValueError if there is none that can be read."""
  av = _library(file)
  try:
    container = av.open(str(file))
  except (av.FFmpegError, OSError) as error:
    raise ValueError(f"{file} cannot be read as a video: {error.strerror or error}.") from None
  if not container.streams.video:
    container.close()
    raise ValueError(f"{file} holds no pictures; it may be a sound file.")
  return container


def number_of_frames(file: pathlib.Path) -> int:
  """The number of frames as the file or its length says; 0 if it does not say. Raises as `frames`."""
  with _open(file) as container:
    stream = container.streams.video[0]
    if stream.frames:
      return stream.frames
    seconds = float(container.duration or 0) / 1e6  # in microseconds
    return round(seconds * float(stream.average_rate or 0))


def rate(file: pathlib.Path) -> float:
  """Frames per second; 25 if the file does not say. Raises as `frames`."""
  with _open(file) as container:
    return float(container.streams.video[0].average_rate or 25)


def frames(file: pathlib.Path) -> Iterator[np.ndarray]:
  """Yields all frames in order, uint8 RGB [H,W,3], upright.

  Raises:
    ValueError: PyAV is not installed, or the file is no video or damaged; frames before the damage are
      yielded.
  """
  av = _library(file)
  with _open(file) as container:
    try:
      for frame in container.decode(video=0):
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    except av.FFmpegError as error:
      raise ValueError(f"{file} is damaged or cut off: {error.strerror or error}.") from None


class VideoWriter:
  """Writes a video, frame by frame. Use as a context manager; an error leaves no file."""

  def __init__(self, file: pathlib.Path, frames_per_second: float):
    """Takes the file, whose folder is made, and the pace."""
    self._file, self._rate = file, frames_per_second
    self._partial = file.with_name(f".{file.name}.partial{file.suffix}")
    self._container: Any = None
    self._stream: Any = None

  def __enter__(self) -> "VideoWriter":
    """Returns itself; the file is opened with the first frame."""
    return self

  def add(self, image: np.ndarray) -> None:
    """Adds a frame uint8 RGB [H,W,3]; a last odd row or column is left out, as codecs want it."""
    av = _library(self._file)
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    if self._container is None:
      self._file.parent.mkdir(parents=True, exist_ok=True)
      self._container = av.open(str(self._partial), "w")
      codec = next(name for name in CODECS if name in av.codecs_available)
      self._stream = self._container.add_stream(codec, rate=round(self._rate) or 1)
      self._stream.height, self._stream.width = image.shape[:2]
      self._stream.pix_fmt = "yuv420p"
      self._stream.bit_rate = 8_000_000
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    self._container.mux(self._stream.encode(frame))

  def __exit__(self, kind: Any, *_: Any) -> None:
    """Ends the file, or removes what there is of it after an error."""
    if self._container is None:
      return
    if kind is None:
      self._container.mux(self._stream.encode())
    self._container.close()
    if kind is None:
      self._partial.replace(self._file)
    else:
      self._partial.unlink(missing_ok=True)
