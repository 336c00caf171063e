"""Writes what a network predicts for image files and videos."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Example
from jax_uda.run import image_prediction, video
from jax_uda.run.image_list import Image
from jax_uda.step.inference import Inference, Prediction, Size

# (images uint8 [B,H,W,3], size) -> labels and confidences [B, *size]
Predict = Callable[[np.ndarray, Size], Prediction]
OVERLAY, CONFIDENCE = "overlay", "confidence"  # folders beside the PNGs of ids
OTHER_SCALE = (
  1.5  # a factor between sides beyond which objects look smaller or larger than in training
)


@dataclasses.dataclass
class PredictionWriter:
  """Writes a PNG of class ids per image, and pictures beside it.

  Attributes:
    predict: The network.
    ids: uint8 [C], the id that is written for each class.
    bound: (height, width) into which images are fitted for the network; None: they keep their size.
    batch_size: Images that are predicted together.
    title: Text of the progress bar.
    inference: How the network predicts, to say which images are predicted in tiles.
    reading: How image files are read: bands and range of values.
    palette: The colors of the PNGs; None: grey values.
    usual_sizes: The sizes of the images on which the network was scored.
    overlay: uint8 [C,3], colors that are written over the images into the folder `overlay`; None: they are not.
    confidence: Whether confidences are written as grey PNGs, 255 = 1, into the folder `confidence`.
    problems: One sentence per image that could not be read.
    number: The images and frames that are written.
    per_second: Their pace, but for batches of a new size, for which the network is compiled; 0: not known.
  """

  predict: Predict
  ids: np.ndarray
  bound: Size | None
  batch_size: int
  title: str
  inference: Inference = Inference()
  reading: Reading = Reading()
  palette: bytes | None = None
  usual_sizes: Sequence[Size] = ()
  overlay: np.ndarray | None = None
  confidence: bool = False
  problems: list[str] = dataclasses.field(default_factory=list)
  number: int = 0
  per_second: float = 0.0

  def write(self, images: Sequence[Image], folder: pathlib.Path) -> None:
    """Writes `<folder>/<name>.png` of all images that can be read, each complete or not at all.

    Frames of a video lie in a folder called like it; its overlay is a video.

    Raises:
      ValueError: An image is in a folder that is called like one of those for pictures.
    """
    self._check_names(images)
    if mesh_lib.is_main_process():  # what a killed prediction left
      beside = {
        (folder / part / image.name).parent
        for image in images
        for part in ("", OVERLAY, CONFIDENCE)
      }
      for parent in beside:
        files.remove_abandoned(parent)
    self.problems.clear()
    self.number, self.per_second, timed, seconds = 0, 0.0, 0, 0.0
    shapes = set()  # those whose programs are there
    pending: collections.deque[tuple[Image, np.ndarray]] = collections.deque()  # not yet written
    bar = tqdm(
      total=self._count(images),
      desc=self.title,
      unit=" images",
      disable=not mesh_lib.is_main_process(),
    )
    with bar, _Pictures(folder) as pictures:
      batches = pipeline.evaluation_batches(self._read(images, pending, bar), self.batch_size)
      start = time.perf_counter()
      for batch in batches:
        prediction = self.predict(batch["image"], batch["label"].shape[1:])
        for label, confidence in zip(*prediction, strict=True):
          image, pixels = pending.popleft()
          if mesh_lib.is_main_process():
            self._write_one(pictures, image, pixels, label, confidence)
        self.number += len(batch["label"])
        bar.update(len(batch["label"]))
        shape, now = (batch["image"].shape, batch["label"].shape), time.perf_counter()
        if shape in shapes:
          timed, seconds = timed + len(batch["label"]), seconds + now - start
        shapes.add(shape)
        start = now
    self.per_second = timed / seconds if timed else 0.0

  def _check_names(self, images: Sequence[Image]) -> None:
    asked = [OVERLAY] * (self.overlay is not None) + [CONFIDENCE] * self.confidence
    for image in images:
      if image.name.partition("/")[0] in asked and "/" in image.name:
        raise ValueError(
          f"{image.file}: a folder {image.name.partition('/')[0]!r} of images would be mixed with that of the "
          "pictures; predict it alone."
        )

  def _count(self, images: Sequence[Image]) -> int:
    """The number of images and frames, as far as files say it."""
    total = 0
    for image in images:
      with contextlib.suppress(ValueError):  # said when it is read
        total += video.number_of_frames(image.file) if video.is_video(image.file) else 1
    return total

  def _write_one(
    self,
    pictures: "_Pictures",
    image: Image,
    pixels: np.ndarray,
    label: np.ndarray,
    confidence: np.ndarray,
  ) -> None:
    pictures.write(f"{image.name}.png", image_prediction.encode(self.ids[label], self.palette))
    if self.confidence:
      grey = np.rint(confidence * 255).astype(np.uint8)
      pictures.write(f"{CONFIDENCE}/{image.name}.png", image_files.encode_png(grey))
    if self.overlay is None:
      return
    blended = image_prediction.blend(pixels, self.overlay[label])
    if video.is_video(image.file):
      pictures.add_frame(image.file, f"{OVERLAY}/{image.name.rpartition('/')[0]}.mp4", blended)
    else:
      pictures.write(f"{OVERLAY}/{image.name}.jpg", image_prediction.encode_jpeg(blended))

  def _pixels(self, images: Sequence[Image], bar: tqdm) -> Iterator[tuple[Image, np.ndarray]]:
    """All images that can be read, and all frames of videos."""
    for image in images:
      try:
        if video.is_video(image.file):
          for index, frame in enumerate(video.frames(image.file), 1):
            yield Image(image.file, f"{image.name}/{index:06d}"), frame
        else:
          yield image, image_files.read_image(image.file, self.reading)
      except ValueError as error:
        self.problems.append(str(error))
        bar.update(1)

  def _read(
    self,
    images: Sequence[Image],
    pending: collections.deque[tuple[Image, np.ndarray]],
    bar: tqdm,
  ) -> Iterator[Example]:
    """Images as evaluation reads them, with a label of 255 at full size; notes them in `pending`."""
    tiled, others = set(), {}
    for image, pixels in self._pixels(images, bar):
      fitted = rescale.fit(pixels, self.bound)
      size = (fitted.shape[0], fitted.shape[1])
      text = f"{image.file} of {size[0]}x{size[1]}"
      if self.inference.is_tiled(size):
        if not tiled:
          side = self.inference.tile[0]
          say(f"{text} is predicted in tiles of {side}x{side} pixels (config.eval.whole_pixels)")
        tiled.add(text)
      if self._is_unusual(size):
        others[image.file] = text
      pending.append((image, pixels))
      yield {"image": fitted, "label": np.full(pixels.shape[:2], IGNORE, np.uint8)}
    if others:
      low, high = min(self.usual_sizes, key=math.prod), max(self.usual_sizes, key=math.prod)
      say(
        f"note: {len(others)} images have another scale than those on which the network was scored, e.g. "
        f"{next(iter(others.values()))}; those have {low[0]}x{low[1]} to {high[0]}x{high[1]} pixels. Objects "
        "look larger or smaller than in training."
      )

  def _is_unusual(self, size: Size) -> bool:
    """Whether an image is much larger or smaller than all on which the network was scored."""
    if not self.usual_sizes:
      return False
    areas = [math.prod(usual) for usual in self.usual_sizes]
    factor, area = OTHER_SCALE**2, math.prod(size)
    return not min(areas) / factor <= area <= max(areas) * factor


class _Pictures:
  """The files of a folder, each complete or not there; of several videos, one is open at a time."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._open: tuple[str, video.VideoWriter, contextlib.ExitStack] | None = None

  def __enter__(self) -> "_Pictures":
    return self

  def __exit__(self, *error) -> None:
    if self._open:
      self._open[2].__exit__(*error)

  def write(self, name: str, content: bytes) -> None:
    """Writes a file."""
    path = self._folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes_atomically(path, content)

  def add_frame(self, source: pathlib.Path, name: str, image: np.ndarray) -> None:
    """Adds a frame to the video `name`, which has the pace of `source`."""
    if self._open is None or self._open[0] != name:
      if self._open:
        self._open[2].close()
      stack = contextlib.ExitStack()
      writer = stack.enter_context(video.VideoWriter(self._folder / name, video.rate(source)))
      self._open = (name, writer, stack)
    self._open[1].add(image)
