import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.common import mesh, registry
from jax_uda.data import label_spaces
from jax_uda.ops import resize
from jax_uda.ops.pixels import to_unit
from jax_uda.run import config as config_lib
from jax_uda.run import evaluation, metrics
from jax_uda.run import settings as settings_lib
from jax_uda.step.inference import Inference
from jax_uda.step.outputs import Outputs
from jax_uda.step.predictor import make_predictor

pytestmark = pytest.mark.fast


def outputs(logits):
  return Outputs(logits, features=(), fused=logits, heads={})


class Pointwise:
  """Logits of stride 2 that depend on the color, in 0..255, and, times `slope`, on the column."""

  slope = 0.0

  def apply(self, weight, image, **_):
    columns = jnp.linspace(-1, 1, image.shape[2] // 2)[None, None, :, None]
    colors = 255 * image[:, ::2, ::2] @ weight
    return outputs(colors + self.slope * columns * jnp.array([0.0, 1, -1]))


class Sloped(Pointwise):
  slope = 300.0


def predict(model=None, size=(8, 12), image=None, **settings):
  image = pixels() if image is None else image
  function = make_predictor(model or Pointwise(), mesh.data_mesh(1), Inference(**settings))
  return function(jnp.eye(3), image, size).label


def pixels(size=(8, 12), seed=0):
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (2, size[0] // 4, size[1] // 4, 3), np.uint8)
  return coarse.repeat(4, 1).repeat(4, 2)


def test_the_prediction_has_the_size_asked_for():
  assert predict(size=(16, 24)).shape == (2, 16, 24) and predict().dtype == np.uint8


def test_flips_make_the_prediction_of_a_mirrored_image_the_mirrored_prediction():
  mirrored = pixels()[:, :, ::-1]
  for flip, equal in ((True, True), (False, False)):
    one, other = (predict(Sloped(), image=x, flip=flip) for x in (pixels(), mirrored))
    assert (one == other[:, :, ::-1]).all() == equal


@pytest.mark.parametrize(
  "settings",
  (
    dict(flip=True),
    dict(scales=(1.0, 2.0)),
    dict(flip=True, scales=(0.5, 1.0), window=(4, 6), stride=(2, 3)),
    dict(average="probabilities", window=(4, 6), stride=(2, 3)),
  ),
)
def test_a_network_without_sense_of_place_predicts_the_same_with_flips_scales_and_windows(settings):
  flat = np.full((2, 8, 12, 3), (9, 200, 30), np.uint8)
  assert (predict(image=flat, **settings) == 1).all()


def test_variants_are_averaged_as_probabilities_at_the_final_size():
  image, total = pixels(), 0
  for scale in (0.5, 1.0):
    size = (int(8 * scale), int(12 * scale))
    scaled = resize.bilinear(to_unit(image), size)
    for flip in (False, True):
      x = scaled[:, :, ::-1] if flip else scaled
      logits = resize.bilinear(Sloped().apply(jnp.eye(3), x).logits, size)
      probability = jax.nn.softmax(resize.bilinear(logits, (16, 24)))
      total += probability[:, :, ::-1] if flip else probability
  averaged = predict(Sloped(), size=(16, 24), flip=True, scales=(0.5, 1.0))
  assert (averaged == total.argmax(-1)).mean() > 0.99
  assert (averaged != predict(Sloped(), size=(16, 24))).any()


class Copy:
  """Logits that are the image, in 0..255."""

  def apply(self, _, image, **__):
    return outputs(255 * image)


def edges(**settings):
  """What is predicted on a row of 16 of two pixels: class 0 and, three times as surely, class 1."""
  logits = jnp.array([[[[1.0, 0.0, -9.0], [0.0, 3.0, -9.0]]]])
  return predict(Copy(), image=logits, size=(1, 16), **settings)[0, 0]


def test_aligned_corners_move_the_border_between_two_classes():
  # It lies where the logits are equal: a quarter of the way between the pixels' centres.
  assert edges().tolist() == [0] * 6 + [1] * 10
  assert edges(align_corners=True).tolist() == [0] * 4 + [1] * 12


@pytest.mark.parametrize(
  "settings",
  (
    dict(),
    dict(average="probabilities", window=(4, 6), stride=(2, 3)),
    dict(flip=True, scales=(0.5, 1.0), align_corners=True),
  ),
)
def test_class_weights_multiply_probabilities(settings):
  share = np.array([0.5, 0.3, 0.2], np.float32)
  image = np.broadcast_to(np.log(share), (2, 8, 12, 3))
  for weights, winner in (((), 0), ((1.0, 1.7, 1.0), 1), ((1.0, 1.7, 2.6), 2)):
    result = predict(Copy(), image=image, size=(16, 24), class_weights=weights, **settings)
    assert (result == winner).all()


@pytest.mark.parametrize(
  "settings, message",
  (
    (dict(scales=()), r"config\.eval\.scales = \(\) must be factors above 0"),
    (dict(scales=(1.0, -1.0)), r"config\.eval\.scales"),
    (dict(average="votes"), r"config\.eval\.average = 'votes'"),
    (dict(class_weights=(1.0, 2.0)), r"config\.eval\.class_weights = \(1\.0, 2\.0\) must be 3"),
    (dict(class_weights=(1.0, 0.0, 1.0)), r"config\.eval\.class_weights"),
    (dict(window=(4, 4)), r"config\.eval\.window = \(4, 4\) and config\.eval\.stride = \(\)"),
  ),
)
def test_settings_that_cannot_be_used_are_explained(settings, message):
  group = dict(config_lib.default().eval) | settings
  with pytest.raises(ValueError, match=message), registry.within("config"):
    inference = settings_lib.evaluation_of(group).inference
    with registry.within("eval"):
      inference.check_classes(3)


def test_synthia_scores_are_means_over_16_and_13_classes_of_a_count_of_all_19():
  rng = np.random.default_rng(0)
  counts = rng.integers(1, 100, (19, 19))
  scores = evaluation.scores(counts, label_spaces.CITYSCAPES19)
  iou = np.array(list(scores["iou"].values()))
  without = {"16": (9, 14, 16), "13": (3, 4, 5, 9, 14, 16)}
  for name, left_out in without.items():
    assert scores["subsets"][name] == pytest.approx(np.delete(iou, left_out).mean(), abs=1e-6)
  counts[:, [9, 14, 16]] = 0  # never predicted: their IoU is 0
  scores = evaluation.scores(counts, label_spaces.CITYSCAPES19)
  assert scores["subsets"]["16"] == pytest.approx(scores["miou"] * 19 / 16, abs=2e-6)
  np.testing.assert_allclose(scores["miou"], metrics.mean_iou(counts), atol=1e-6)
