"""Any loss of embeddings and labels on top of any method."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from jax_uda import methods, models
from jax_uda.methods._pixel_loss import KERNELS
from jax_uda.step.learner import Learner

OWN = """
import jax.numpy as jnp

def spread(embeddings, labels, *, weights, power=2.0):
  return jnp.mean(weights * jnp.abs(embeddings).mean(-1) ** power)
"""


def metrics_of(**settings):
  """Names of the metrics of a step, and the network; nothing is computed."""
  method = methods.build(tiny.TASK, name="dacs", also={"pixel_loss": settings})
  model = models.build(num_classes=tiny.CLASSES, **tiny.SMALL)
  learner = Learner(model, method, schedule=lambda step: 1e-3)
  state = learner.abstract_state(tiny.SIZE)
  return jax.eval_shape(learner.pure_step(), state, tiny.batch_of(0))[1], learner


def test_a_loss_of_the_package_is_chosen_by_its_name():
  assert "pixel_contrast" in KERNELS and "prototype_cross_entropy" not in KERNELS
  metrics, learner = metrics_of(
    loss="pixel_contrast", views=("source", "mixed"), grid=(5, 5), embedding_dim=4, start_step=0
  )
  assert {"loss/pixel_loss_source", "loss/pixel_loss_mixed"} <= metrics.keys()
  assert learner.model.heads["pixel_loss"].dim == 4


def test_a_loss_of_ones_own_is_one_file(tmp_path, monkeypatch):
  (tmp_path / "own_loss.py").write_text(OWN)
  monkeypatch.syspath_prepend(tmp_path)
  metrics, _ = metrics_of(loss="own_loss:spread", options={"power": 1.0})
  assert metrics["pixel_loss_mixed/loss"].dtype == jnp.float32


def test_mistakes_name_the_field():
  with pytest.raises(
    ValueError, match=r"method.also.pixel_loss.loss = 'pixel_contrasts' is unknown"
  ):
    metrics_of(loss="pixel_contrasts")
  with pytest.raises(ValueError, match="pixel_loss needs the view masked"):
    metrics_of(loss="pixel_contrast", views=("masked",))
