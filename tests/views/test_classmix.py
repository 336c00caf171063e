import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda import losses
from jax_uda.ops import resize
from jax_uda.views import classmix, pseudo_labels

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/classmix"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    present = classmix.present_classes(jnp.asarray(part.src_label))
    np.testing.assert_array_equal(np.flatnonzero(present), part.unique_classes)
    # The recorded indices as priorities: the chosen classes come first.
    priority = np.ones((len(part.src_label), classmix.NUM_IDS), np.float32)
    for image, index in enumerate(part.chosen_index):
      priority[image, part.unique_classes[index]] = 0
    chosen = classmix.choose(present, jnp.asarray(priority))
    assert (chosen.sum(-1) == part.chosen_index.shape[1]).all()
    mask = classmix.mask(jnp.asarray(part.src_label), chosen)
    np.testing.assert_array_equal(mask, part["mask"])
    label = classmix.mix(mask, part.src_label, part.pseudo_label)
    np.testing.assert_array_equal(label, part.mixed_label)
    image = classmix.mix(mask, part.src_img, part.tgt_img)
    np.testing.assert_allclose(image, part.mixed_img, atol=1e-6)
    weight = classmix.mix(mask, np.ones_like(part.pseudo_weight), part.pseudo_weight)
    np.testing.assert_allclose(weight, part.mixed_weight, atol=1e-6)


def test_half_of_the_present_classes_are_chosen_each_as_often():
  label = jnp.array([[[3, 7, 255, 9, 9]]])
  present = classmix.present_classes(label)
  chosen = classmix.choose(present, classmix.draw(jax.random.key(0), 3000))
  assert (chosen.sum(-1) == 2).all()
  share = np.asarray(chosen).mean(0)
  np.testing.assert_allclose(share[[3, 7, 9, 255]], 0.5, atol=0.04)
  assert share.sum() == pytest.approx(2)


def test_an_odd_number_of_classes_is_rounded_up():
  present = classmix.present_classes(jnp.array([[[1, 2, 5]]]))
  assert classmix.choose(present, classmix.draw(jax.random.key(1), 4)).sum(-1).tolist() == [2] * 4


def test_classes_are_counted_per_image_on_request():
  label = jnp.array([[[1, 1]], [[2, 3]]])
  present = classmix.present_classes(label, per_image=True)
  assert [np.flatnonzero(row).tolist() for row in present] == [[1], [2, 3]]
  assert classmix.choose(present, classmix.draw(jax.random.key(0), 2)).sum(-1).tolist() == [1, 1]


def test_priorities_of_absent_classes_do_not_matter():
  label = jnp.array([[[0, 4, 9, 255]], [[4, 4, 9, 9]]])
  present = classmix.present_classes(label)
  priority = classmix.draw(jax.random.key(2), 2)
  chosen = jax.jit(classmix.choose)(present, priority)
  np.testing.assert_array_equal(chosen, classmix.choose(present, jnp.where(present, priority, 0.0)))
  assert not (chosen & ~present).any()


@pytest.mark.parametrize("case", golden("rccr/classmix_consistency"))
def test_the_consistency_on_mixed_images_matches_reference(case):
  """Pseudo-labels, ClassMix and the weighted cross-entropy; tolerances of golden/rccr/README.md."""
  label, stride = jnp.asarray(case.src_label), int(case.src_image_stride)
  size = label.shape[1:]
  equal = np.testing.assert_array_equal
  close = lambda actual, expected: np.testing.assert_allclose(actual, expected, 1e-5, 1e-6)
  logits = resize.bilinear(jnp.asarray(case.target_logits), size, align_corners=True)
  pseudo = pseudo_labels.pseudo_label(logits, size, threshold=float(case.conf_threshold))
  equal(pseudo.label, case.target_label)
  close(pseudo.confidence, case.target_conf)
  close(pseudo.confident_fraction, case.unlabeled_weight)
  priority = np.ones((len(label), classmix.NUM_IDS), np.float32)
  for image, classes in enumerate(case.classes_selected):
    priority[image, classes[classes >= 0]] = 0
  present = classmix.present_classes(label, per_image=True)
  for image, classes in enumerate(case.classes_present):
    equal(np.flatnonzero(present[image]), np.sort(classes[classes >= 0]))
  mask = classmix.mask(label, classmix.choose(present, jnp.asarray(priority)))
  equal(mask, case.mix_mask)
  images = (jnp.asarray(case.src_image), jnp.asarray(case.tgt_image))
  close(classmix.mix(mask[:, ::stride, ::stride], *images), case.mixed_image)
  mixed_label = classmix.mix(mask, label, pseudo.label)
  weight = classmix.mix(mask, jnp.ones(label.shape), pseudo.weight)
  equal(mixed_label, case.mixed_label)
  close(weight, case.pixel_weight)

  def loss(logits):
    logits = resize.bilinear(logits, size, align_corners=True)
    value = losses.weighted_cross_entropy(logits, mixed_label, weight)
    return float(case.consistency_weight) * value

  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(case.student_logits))
  np.testing.assert_allclose(value, case.loss, rtol=1e-4, atol=1e-6)
  golden_cases.assert_close(grad, case.grad_student_logits, rtol=1e-3, atol=1e-6)
