import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.views import classmix


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
