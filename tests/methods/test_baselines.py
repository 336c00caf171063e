"""MinEnt and AdvSeg on a network of one matrix, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import methods, objectives
from jax_uda.step.context import Context, Passes, View
from jax_uda.step.method import Task, with_unit_images
from jax_uda.step.outputs import Outputs

pytestmark = pytest.mark.fast
TASK = Task(3, (0.5, 0.3, 0.2))
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(3, 3)).astype(np.float32)
IMAGES = {name: RNG.uniform(size=(2, 8, 8, 3)).astype(np.float32) for name in ("source", "target")}


def context(auxiliary=None):
  """The student's logits are the pixels times a matrix."""
  view = lambda image: View(
    jnp.asarray(image), jnp.full(image.shape[:3], 255), jnp.ones(image.shape[:3])
  )
  network = lambda variables, image, name, **_: (Outputs(image @ WEIGHT, (), None, {}), None)
  return Context(
    views={name: view(image) for name, image in IMAGES.items()},
    step=jnp.int32(0),
    student=Passes(network, {}),
    teacher=Passes(network, {}),
    auxiliary=auxiliary,
  )


def softmax(image, scale=1):
  """Probabilities of the maps; at half the size, of the means of 2x2 logits."""
  logits = image.astype(np.float64) @ WEIGHT
  if scale == 0.5:
    logits = logits.reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
  exp = np.exp(logits)
  return exp / exp.sum(-1, keepdims=True)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_entropy_is_that_of_advent(scale):
  p = softmax(IMAGES["target"], scale)
  expected = -(p * np.log2(p)).sum(-1).mean() / np.log2(3)
  loss = objectives.entropy(weight=0.001, scale=scale).apply((), context(), ()).loss
  np.testing.assert_allclose(loss, 0.001 * expected, rtol=1e-5)


def test_the_adversary_of_least_squares_calls_the_source_0_and_the_target_1():
  matrix = RNG.normal(size=(3, 1)).astype(np.float32)
  term = objectives.output_adversarial(
    discriminator=lambda params, p: p @ params,
    weight=0.001,
    least_squares=True,
    align_corners=False,
  )
  result = term.apply((), context(jnp.asarray(matrix)), ())
  source, target = (softmax(IMAGES[name]) @ matrix for name in ("source", "target"))
  np.testing.assert_allclose(result.metrics["student"], (target**2).mean(), rtol=1e-5)
  domains = ((source**2).mean() + ((target - 1) ** 2).mean()) / 2
  np.testing.assert_allclose(result.metrics["discriminator"], domains, rtol=1e-5)
  np.testing.assert_allclose(result.loss, 0.001 * (target**2).mean() + domains, rtol=1e-5)


@pytest.mark.parametrize("name", ["min_entropy", "adv_seg", "source_only"])
def test_source_images_are_distorted_and_target_images_stay_as_they_are(name):
  pixels = {domain: (255 * image).astype(np.uint8) for domain, image in IMAGES.items()}
  batch = with_unit_images(
    {
      "source": {"image": pixels["source"], "label": np.ones((2, 8, 8), np.uint8)},
      "target": {"image": pixels["target"]},
    }
  )
  views = {}
  for distorted in (False, True):
    method = methods.build(TASK, name=name, photometric_distortion=distorted)
    draws = method.draw(jax.random.key(3), batch)
    views[distorted] = method.make_views(draws, batch, None)
  np.testing.assert_array_equal(views[False]["source"].image, batch["source"]["image"])
  assert (views[True]["source"].image != batch["source"]["image"]).any((1, 2, 3)).all()
  if name != "source_only":
    np.testing.assert_array_equal(views[True]["target"].image, batch["target"]["image"])
    assert (views[True]["target"].label == 255).all() and method.unlabelled == ("target",)


def test_components_that_need_labels_of_the_target_are_refused():
  with pytest.raises(ValueError, match="masked needs labels of the view target"):
    methods.build(TASK, name="min_entropy", also={"masked": {}})
