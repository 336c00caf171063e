"""Prediction files of images without labels, for the eye and for the servers of test sets."""

import dataclasses
import io
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import PIL.Image
from tqdm import tqdm

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.data import label_spaces
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Example, sizes_of
from jax_uda.run import image_list, submission
from jax_uda.run.experiment import Experiment
from jax_uda.run.image_list import Image
from jax_uda.step.inference import Inference, Prediction, Size
from jax_uda.step.state import TrainState

# (images uint8 [B,H,W,3], size) -> labels and confidences [B, *size]
Predict = Callable[[np.ndarray, Size], Prediction]
OTHER_SCALE = (
  1.5  # a factor between sides beyond which objects look smaller or larger than in training
)


class UnreadableImagesError(ValueError):
  """Images that could not be read, after all others have been predicted."""


def written_ids(label_space: LabelSpace, ids: str) -> np.ndarray:
  """uint8 [C]: the id that is written for each class.

  Args:
    label_space: The C classes.
    ids: "train", the ids 0..C-1, or "cityscapes", the label ids of Cityscapes.

  Raises:
    ValueError: Cityscapes' label ids are asked for and the classes are others.
  """
  if ids == "train":
    return np.arange(label_space.num_classes, dtype=np.uint8)
  if label_space.names != label_spaces.CITYSCAPES19.names:
    raise ValueError(f"--ids={ids} needs the 19 Cityscapes classes, not {label_space.name}.")
  return np.array([np.argmax(c == label_spaces.CITYSCAPES_IDS) for c in range(19)], np.uint8)


def palette_of(label_space: LabelSpace, ids: np.ndarray) -> bytes:
  """The colors of a PNG whose values are `ids`, as Pillow takes them: 256 times red, green, blue."""
  colors = np.zeros((256, 3), np.uint8)
  colors[ids] = label_space.palette
  return colors.tobytes()


def encode(ids: np.ndarray, palette: bytes | None) -> bytes:
  """The bytes of a PNG of ids uint8 [H,W]: grey values, or indices of a palette."""
  if palette is None:
    return image_files.encode_png(ids)
  picture, buffer = PIL.Image.fromarray(ids), io.BytesIO()
  picture.putpalette(palette)
  picture.save(buffer, "PNG")
  return buffer.getvalue()


@dataclasses.dataclass
class PredictionWriter:
  """Writes a PNG of class ids per image.

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
    problems: One sentence per image that could not be read.
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
  problems: list[str] = dataclasses.field(default_factory=list)

  def write(self, images: Sequence[Image], folder: pathlib.Path) -> None:
    """Writes `<folder>/<name>.png` of all images that can be read, each complete or not at all."""
    self.problems.clear()
    is_main = mesh_lib.is_main_process()
    for parent in {(folder / image.name).parent for image in images} if is_main else ():
      files.remove_abandoned(parent)
    names: list[str] = []  # of the images that are read and not yet written
    with tqdm(total=len(images), desc=self.title, unit=" images", disable=not is_main) as bar:
      for batch in pipeline.evaluation_batches(self._read(images, names, bar), self.batch_size):
        labels = self.predict(batch["image"], batch["label"].shape[1:]).label
        for label in self.ids[labels]:
          path = folder / f"{names.pop(0)}.png"
          if is_main:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_bytes_atomically(path, encode(label, self.palette))
        bar.update(len(labels))

  def _read(self, images: Sequence[Image], names: list[str], bar: tqdm) -> Iterator[Example]:
    """Images as evaluation reads them, with a label of 255 at full size; notes the names."""
    tiled, others = [], []
    for image in images:
      try:
        pixels = image_files.read_image(image.file, self.reading)
      except ValueError as error:
        self.problems.append(str(error))
        bar.update(1)
        continue
      fitted = rescale.fit(pixels, self.bound)
      size = (fitted.shape[0], fitted.shape[1])
      text = f"{image.file} of {size[0]}x{size[1]}"
      if self.inference.is_tiled(size):
        if not tiled:
          side = self.inference.tile[0]
          say(f"{text} is predicted in tiles of {side}x{side} pixels (config.eval.whole_pixels)")
        tiled.append(text)
      if self._is_unusual(size):
        others.append(text)
      names.append(image.name)
      yield {"image": fitted, "label": np.full(pixels.shape[:2], IGNORE, np.uint8)}
    if others:
      low, high = min(self.usual_sizes, key=math.prod), max(self.usual_sizes, key=math.prod)
      say(
        f"note: {len(others)} images have another scale than those on which the network was scored, e.g. "
        f"{others[0]}; those have {low[0]}x{low[1]} to {high[0]}x{high[1]} pixels. Objects look larger or "
        "smaller than in training."
      )

  def _is_unusual(self, size: Size) -> bool:
    """Whether an image is much larger or smaller than all on which the network was scored."""
    if not self.usual_sizes:
      return False
    areas = [math.prod(usual) for usual in self.usual_sizes]
    factor, area = OTHER_SCALE**2, math.prod(size)
    return not min(areas) / factor <= area <= max(areas) * factor


def write(
  exp: Experiment,
  state: TrainState,
  workdir: pathlib.Path,
  *,
  images: str,
  suffix: str = "",
  network: str = "student",
  ids: str = "train",
  server: str = "",
) -> pathlib.Path:
  """Writes a PNG of class ids for each image into `<workdir>/predictions/<network>`.

  The network sees an image as it would see it in the target's validation set: at its own size, or fitted
  into the `size` of the data set. Predictions have the size of the image files. Windows, flips, scales and
  class weights are those of `config.eval` for the target. The PNGs have the palette of the classes; their
  values are ids. For a server the predictions are grey and go into a new folder
  `<workdir>/predictions/<server>-<network>-<steps>`, with a zip of them.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    images: Files, folders and lists, as in `image_list.find`.
    suffix: End of the stems of the images in folders; other files are left out.
    network: "student" or "teacher".
    ids: Which ids are written, "train" or "cityscapes", as in `written_ids`.
    server: One of `submission.SERVERS`, which determines the ids; empty: no server.

  Returns:
    The folder of the predictions.

  Raises:
    ValueError: As in `image_list.find`, `written_ids` and `submission`.
    UnreadableImagesError: All other images are predicted.
  """
  space, settings = exp.domains.label_space, exp.settings.evaluation
  form = submission.find(server, space) if server else None
  listed = image_list.find(images, suffix, is_flat=bool(form))
  if form and len(listed) != form.num_images:
    say(f"note: the test set of {server} has {form.num_images} images, not {len(listed)}")
  variables = state.variables(network)
  written = written_ids(space, form.ids if form else ids)
  writer = PredictionWriter(
    predict=lambda images, size: exp.learner.predict(
      variables, images, settings.inference, size=size
    ),
    ids=written,
    bound=exp.domains.image_bound,
    batch_size=settings.batch_size,
    title=f"predictions of the {network}",
    inference=settings.inference,
    reading=exp.domains.reading,
    palette=None if form else palette_of(space, written),
    usual_sizes=sizes_of(exp.domains.target_val),
  )
  folder = workdir / "predictions"
  if form:
    wanted = folder / f"{server}-{network}-{int(state.step)}"
    folder = submission.write(wanted, form, listed, lambda folder: writer.write(listed, folder))
    say(f"for the server of {server}: {folder / submission.ZIP}")
  else:
    folder = folder / network
    writer.write(listed, folder)
  number = len(listed) - len(writer.problems)
  say(f"{number} predictions of {int(state.step)} steps: {folder}")
  if writer.problems:
    raise UnreadableImagesError(
      f"{len(writer.problems)} of {len(listed)} images have no prediction: {' '.join(writer.problems[:5])}"
      + (" …" if len(writer.problems) > 5 else "")
    )
  return folder
