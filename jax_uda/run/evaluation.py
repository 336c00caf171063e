"""Evaluation of a network on a labelled set of images."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.examples import Example
from jax_uda.run import metrics
from jax_uda.step.inference import Inference
from jax_uda.step.learner import Learner
from jax_uda.step.outputs import Network, Outputs

WHOLE_IMAGES = Inference()


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
) -> np.ndarray:
  """[C, C] int64 pixel counts over all `examples`; rows are labels, columns predictions.

  Args:
    learner: The model, and the devices that share a batch.
    variables: Its variables, e.g. `state.variables("student")`.
    examples: `image` uint8 [H,W,3] and `label` uint8 [h,w]; predictions have the size of the labels.
    num_classes: C.
    inference: How the network predicts.
    batch_size: Images that are predicted together.
  """
  counts = np.zeros((num_classes, num_classes), np.int64)
  for batch in batching.evaluation_batches(examples, batch_size):
    size = batch["label"].shape[1:]
    prediction = learner.predict(variables, batch["image"], inference, size=size)
    counts += metrics.confusion(batch["label"], prediction.label, num_classes)
  return counts


def scores(counts: np.ndarray, label_space: LabelSpace) -> dict[str, Any]:
  """The scores of one network on one set, as `results.json` has them.

  Args:
    counts: [C, C] pixel counts; rows are labels.
    label_space: The C classes.

  Returns:
    `miou`, `pixel_accuracy`, `iou` by class name and `subsets`, the mean IoU over some classes (see
    `metrics.mean_iou`); numbers in [0, 1], None where undefined.
  """
  plain = lambda value: None if np.isnan(value) else round(float(value), 6)
  return {
    "miou": plain(metrics.mean_iou(counts)),
    "pixel_accuracy": plain(metrics.pixel_accuracy(counts)),
    "iou": dict(zip(label_space.names, map(plain, metrics.iou(counts)), strict=True)),
    "subsets": {
      name: plain(metrics.mean_iou(counts, subset)) for name, subset in label_space.subsets.items()
    },
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
