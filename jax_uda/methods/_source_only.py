"""Training on the labelled source alone: the baseline of every table.

The teacher follows as a moving average, so that a run can continue with self-training. It makes no pass
of its own: a recipe with BatchNorm averages its statistics, too (`config.ema.statistics`).
"""

import jax

from jax_uda import objectives
from jax_uda.methods.requirements import class_weights
from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views import photometric, self_training, strong


def source_view_maker(
  *,
  source_augmentation: bool = False,
  jitter_strength: float = 0.2,
  photometric_distortion: bool = False,
) -> ViewMaker:
  """Makes the view `source`, distorted or augmented as `source_only` says."""

  def draw(key: jax.Array, batch: Batch) -> dict[str, object]:
    batch_size = batch["source"]["image"].shape[0]
    draws = {}
    if source_augmentation:
      # The same name as in self-training: both see the same augmented source images.
      draws["strong"] = strong.draw(named_key(key, "source"), batch_size, strength=jitter_strength)
    if photometric_distortion:
      draws["photometric"] = photometric.draw(named_key(key, "photometric"), batch_size)
    return draws

  def make(draws, batch: Batch, teacher, views) -> dict[str, View]:
    del teacher, views
    source = self_training.source_view(batch)
    if photometric_distortion:
      source = source.replace(image=photometric.distort(source.image, draws["photometric"]))
    if source_augmentation:
      source = self_training.augmented(source, draws["strong"])
    return {"source": source}

  return ViewMaker(make, draw)


def source_only(
  task: Task,
  *,
  source_augmentation: bool = False,
  jitter_strength: float = 0.2,
  photometric_distortion: bool = False,
  class_weight_power: float = 0.0,
) -> Method:
  """Cross-entropy on the source.

  Args:
    task: Number and frequencies of the classes.
    source_augmentation: Whether source images get the strong augmentation (color jitter, blur).
    jitter_strength: Largest relative change of the color jitter.
    photometric_distortion: Whether source images get the distortion of MMSegmentation
      (`views.photometric`), as in the baselines of DAFormer's tables.
    class_weight_power: Each pixel weighs `(frequency of its class) ** -power`; 0 = equally.
  """
  maker = source_view_maker(
    source_augmentation=source_augmentation,
    jitter_strength=jitter_strength,
    photometric_distortion=photometric_distortion,
  )
  weights = class_weights(task, class_weight_power)
  return Method(
    views={"source": maker},
    terms={"source": objectives.cross_entropy(view="source", class_weights=weights)},
  )
