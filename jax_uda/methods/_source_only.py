"""Training on the labelled source alone: the baseline of every table.

The teacher follows as a moving average, so that a run can continue with self-training and so that
both networks are reported.
"""

from jax_uda import objectives
from jax_uda.methods.requirements import class_weights
from jax_uda.step.context import named_key
from jax_uda.step.method import Method, Task, ViewMaker
from jax_uda.views import self_training, strong


def source_only(
  task: Task,
  *,
  source_augmentation: bool = False,
  jitter_strength: float = 0.2,
  class_weight_power: float = 0.0,
) -> Method:
  """Cross-entropy on the source.

  Args:
    task: Number and frequencies of the classes.
    source_augmentation: Whether source images get the strong augmentation (color jitter, blur).
    jitter_strength: Largest relative change of the color jitter.
    class_weight_power: Each pixel weighs `(frequency of its class) ** -power`; 0 = equally.
  """

  def draw(key, batch) -> strong.StrongDraws:
    # The same name as in self-training: both see the same augmented source images.
    batch_size = batch["source"]["image"].shape[0]
    return strong.draw(named_key(key, "source"), batch_size, strength=jitter_strength)

  def make(draws: strong.StrongDraws, batch, teacher, views):
    del teacher, views
    source = self_training.source_view(batch)
    return {"source": self_training.augmented(source, draws) if source_augmentation else source}

  weights = class_weights(task, class_weight_power)
  return Method(
    views={"source": ViewMaker(make, draw)},
    terms={"source": objectives.cross_entropy(view="source", class_weights=weights)},
  )
