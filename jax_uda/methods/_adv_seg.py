"""AdvSeg (AdaptSegNet, Tsai et al., CVPR 2018): a discriminator cannot tell the domains' predictions apart.

Cross-entropy on the source, and the student's loss against a discriminator of the softmax maps, with the
details of HRDA's code (Hoyer et al., ECCV 2022): least squares instead of cross-entropies, one level of
the network, and on HRDA the fused logits at half the size of the image. There are no pseudo-labels. Extra
cost beside training on the source: one student pass and the discriminator.
"""

import optax

from jax_uda import objectives
from jax_uda.methods._min_entropy import plain_views
from jax_uda.methods._output_discriminator import output_discriminator
from jax_uda.step.context import Pass
from jax_uda.step.method import Method, Task


def adv_seg(
  task: Task,
  *,
  adversarial_weight: float = 0.001,
  map_scale: float = 1.0,
  least_squares: bool = True,
  discriminator_width: int = 64,
  discriminator_learning_rate: float = 1e-4,
  discriminator_power: float = 0.9,
  discriminator_steps: int = 40_000,
  photometric_distortion: bool = True,
) -> Method:
  """AdvSeg.

  Args:
    task: The number of classes.
    adversarial_weight: Factor of the student's loss against the discriminator.
    map_scale: Size of the maps that it sees, as a fraction of the image's; 0.5 on HRDA.
    least_squares: Whether both losses are squared distances instead of cross-entropies.
    discriminator_width: Channels of its first convolution; the next three have 2, 4 and 8 times as many.
    discriminator_learning_rate: Its learning rate (Adam) at step 0.
    discriminator_power: Exponent of that rate's decay to 0.
    discriminator_steps: The step at which it is 0: the length of the run.
    photometric_distortion: Whether source images get the distortion of MMSegmentation.
  """
  decay = optax.polynomial_schedule(
    discriminator_learning_rate, 0.0, discriminator_power, discriminator_steps
  )
  judge = output_discriminator(
    task.num_classes, width=discriminator_width, rate=lambda schedule: decay
  )
  return Method(
    views=plain_views(photometric_distortion),
    terms={
      "source": objectives.cross_entropy(view="source"),
      "adversarial": objectives.output_adversarial(
        discriminator=judge.apply,
        weight=adversarial_weight,
        least_squares=least_squares,
        scale=map_scale,
        align_corners=False,
      ),
    },
    passes=lambda phase: {"target": Pass(outputs=("decoder",))},
    auxiliary=judge.auxiliary,
    unlabelled=("target",),
  )
