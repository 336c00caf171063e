"""Training on the labelled source alone: the baseline of every table.

The teacher follows as a moving average, so that a run can continue with self-training and so that
both networks are reported.
"""

from jax_uda import objectives
from jax_uda.methods.requirements import class_weights
from jax_uda.step.context import named_key
from jax_uda.step.method import Method, Task
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
    task: The classes and the standardisation.
    source_augmentation: Strong augmentation (colour jitter, blur) of the source images.
    jitter_strength: Of the colour jitter.
    class_weight_power: Weighs the loss of each class by `frequency ** -power`; 0 = equally.
  """

  def draw(key, batch):
    # The same name as in self-training: both see the same augmented source images.
    batch_size = batch["source"]["image"].shape[0]
    return strong.draw(named_key(key, "source"), batch_size, strength=jitter_strength)

  def views(draws, batch, teacher):
    del teacher
    source = self_training.source_view(batch)
    return {"source": self_training.augmented(source, draws) if source_augmentation else source}

  weights = class_weights(task, class_weight_power)
  objective = objectives.chain(
    source=objectives.cross_entropy(view="source", class_weights=weights)
  )
  return Method(draw, views, objective)
