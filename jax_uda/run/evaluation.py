"""Evaluation of a network on a labelled set of images."""

import collections
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.examples import Example, Selection, sizes_of
from jax_uda.run import metrics
from jax_uda.step.inference import Inference, Size
from jax_uda.step.learner import Learner
from jax_uda.step.outputs import Network, Outputs

WHOLE_IMAGES = Inference()
MANY_PROGRAMS = 8  # so many are compiled without a word about it


def forward(
  model: Network,
  variables: Mapping[str, Any],
  image: jax.Array,
  *,
  outputs: Collection[str] | None = None,
) -> Outputs:
  """The outputs of a network in evaluation mode; to be called in a jitted function.

  Args:
    model: The network.
    variables: Its variables.
    image: [B,H,W,3] float32, RGB in [0, 1].
    outputs: What the network computes behind its encoder: "decoder" and names of heads; None: all.
  """
  return model.apply(variables, image, train=False, use_running_average=True, outputs=outputs)


def confusion_of(
  learner: Learner,
  variables: Mapping[str, Any],
  examples: Sequence[Example],
  num_classes: int,
  *,
  inference: Inference = WHOLE_IMAGES,
  batch_size: int = 1,
  progress: Callable[[int], None] | None = None,
) -> np.ndarray:
  """[C, C] int64 pixel counts over all `examples`; rows are labels, columns predictions.

  Args:
    learner: The model, and the devices that share a batch.
    variables: Its variables, e.g. `state.variables("student")`.
    examples: `image` uint8 [H,W,3] and `label` uint8 [h,w]; predictions have the size of the labels.
    num_classes: C.
    inference: How the network predicts.
    batch_size: Images that are predicted together.
    progress: Called with the number of images after each batch.
  """
  counts = np.zeros((num_classes, num_classes), np.int64)
  for batch in batching.evaluation_batches(_by_size(examples), batch_size):
    size = batch["label"].shape[1:]
    prediction = learner.predict(variables, batch["image"], inference, size=size)
    counts += metrics.confusion(batch["label"], prediction.label, num_classes)
    if progress:
      progress(len(batch["label"]))
  return counts


def _by_size(examples: Sequence[Example]) -> Sequence[Example]:
  """The examples with those of one size as neighbours, so that they share batches and programs."""
  sizes = [sizes_of(examples, name) for name in ("image", "label")] if len(examples) else []
  keys = list(zip(*sizes, strict=True))
  if len(set(keys)) < 2:
    return examples
  order = sorted(range(len(keys)), key=keys.__getitem__)
  return Selection(examples, order, ("image", "label"))


def describe_sizes(
  learner: Learner, variables: Any, sizes: Sequence[Size], inference: Inference, batch_size: int
) -> str:
  """How many sizes the images of a set have and how many programs of the network they need; "" for one size.

  Args:
    learner: The model.
    variables: Its variables, or their shapes.
    sizes: (height, width) of each image.
    inference: How the network predicts.
    batch_size: Images that are predicted together.
  """
  counts = collections.Counter(sizes)
  predictor = learner.predictor(inference)
  crops = {crop for size in counts for crop in inference.crops(size)}
  programs = {predictor.network.canvas(variables, crop, batch_size) for crop in crops}
  texts = []
  if len(counts) > 1:
    texts.append(f"{len(counts)} sizes, {len(programs)} programs of the network")
  if len(programs) > MANY_PROGRAMS:
    texts.append("fewer with config.eval.grid = 64, which changes predictions a little")
  large = [size for size in counts if inference.is_tiled(size)]
  if large:
    height, width = max(large)
    texts.append(
      f"{sum(counts[size] for size in large)} images of more than {inference.whole_pixels} pixels, e.g. "
      f"{height}x{width}, in tiles of {inference.tile[0]}x{inference.tile[1]} "
      "(config.eval.whole_pixels)"
    )
  return "; ".join(texts)


def scores(
  counts: np.ndarray, label_space: LabelSpace, *, absent_as_zero: bool = False
) -> dict[str, Any]:
  """The scores of one network on one set, as `results.json` has them.

  Args:
    counts: [C, C] pixel counts; rows are labels.
    label_space: The C classes.
    absent_as_zero: Whether classes in neither labels nor predictions count as 0 in means.

  Returns:
    `miou`, `pixel_accuracy`, `iou` by class name and `subsets`, the mean IoU over some classes (see
    `metrics.mean_iou`); numbers in [0, 1], None where undefined.
  """
  plain = lambda value: None if np.isnan(value) else round(float(value), 6)
  mean = functools.partial(metrics.mean_iou, counts, absent_as_zero=absent_as_zero)
  return {
    "miou": plain(mean()),
    "pixel_accuracy": plain(metrics.pixel_accuracy(counts)),
    "iou": dict(zip(label_space.names, map(plain, metrics.iou(counts)), strict=True)),
    "subsets": {name: plain(mean(subset)) for name, subset in label_space.subsets.items()},
  }


def evaluate(
  learner: Learner,
  variables: Mapping[str, Any],
  examples: Sequence[Example],
  *,
  label_space: LabelSpace | None = None,
  inference: Inference = WHOLE_IMAGES,
  batch_size: int = 1,
) -> dict[str, Any]:
  """Scores of a network on a labelled set.

  Args:
    learner: The model, and the devices that share a batch.
    variables: Its variables, e.g. `state.variables("student")`.
    examples: `image` uint8 [H,W,3] and `label` uint8 [h,w] train ids, 255 = ignore.
    label_space: Names of the classes; None: they are called "0", "1", ….
    inference: How the network predicts.
    batch_size: Images that are predicted together.

  Returns:
    As `scores`.
  """
  label_space = label_space or _numbered_classes(learner, variables, examples[0]["image"])
  counts = confusion_of(
    learner,
    variables,
    examples,
    label_space.num_classes,
    inference=inference,
    batch_size=batch_size,
  )
  return scores(counts, label_space)


def _numbered_classes(
  learner: Learner, variables: Mapping[str, Any], image: np.ndarray
) -> LabelSpace:
  """As many classes as the network has logits for image [H,W,3]; their names are numbers."""
  run = lambda variables, images: forward(learner.model, variables, images, outputs=("decoder",))
  one_image = jax.ShapeDtypeStruct((1, *image.shape), np.float32)
  num_classes = jax.eval_shape(run, variables, one_image).decoded.logits.shape[-1]
  names = tuple(map(str, range(num_classes)))
  return LabelSpace("numbered classes", names, np.zeros((num_classes, 3), np.uint8), {})
