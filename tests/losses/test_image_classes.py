import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import losses


def test_an_image_holds_the_classes_of_its_valid_pixels():
  labels = jnp.array([[[2, 255], [2, 0]], [[255, 255], [7, 3]]], jnp.uint8)
  expected = [[1, 0, 1], [0, 0, 0]]
  assert losses.image_classes(labels, 3).tolist() == expected
  labels = labels.astype(jnp.int32).at[0, 0, 0].set(-1)
  assert losses.image_classes(labels[None], 3).tolist() == [expected]


def test_is_the_binary_cross_entropy_of_the_mean_map():
  maps = jax.random.normal(jax.random.key(0), (2, 3, 4, 3))
  labels = jnp.array([[[1, 2]], [[255, 0]]])
  prob = 1 / (1 + np.exp(-np.mean(np.asarray(maps), (1, 2))))
  held = np.array([[0, 1, 1], [1, 0, 0]])
  expected = -np.mean(np.log(np.where(held, prob, 1 - prob)))
  np.testing.assert_allclose(losses.image_class_cross_entropy(maps, labels), expected, rtol=1e-5)


def test_an_image_without_valid_pixels_holds_no_class():
  maps = jnp.zeros((1, 2, 2, 4)).at[..., 0].set(9.0)
  labels = jnp.full((1, 2, 2), 255)
  grad = jax.grad(losses.image_class_cross_entropy)(maps, labels)
  assert (grad > 0).all()
