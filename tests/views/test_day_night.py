"""Day and night predictions agree with the reference; tolerances of golden/sepico/README.md."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.common import mesh
from jax_uda.ops import resize
from jax_uda.step.inference import Inference
from jax_uda.step.outputs import Outputs
from jax_uda.step.predictor import make_predictor
from jax_uda.views import day_night, pseudo_labels

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
close5 = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", golden("sepico/day_night_mix"))
def test_the_mix_of_day_and_night_matches_reference(case):
  mix = day_night.fuse_day_night(
    jnp.asarray(case.day_prob),
    jnp.asarray(case.night_prob),
    static_ranges=case.shift_insensitive_ranges.tolist(),
    day_ratio=float(case.day_ratio),
    day_threshold=float(case.day_conf_threshold),
    class_weights=jnp.asarray(case.class_weight, jnp.float32),
  )
  close(mix, case.mix)
  label, confidence = jnp.argmax(mix, -1), jnp.max(mix, -1)
  pseudo = pseudo_labels.weigh(label, confidence, threshold=float(case.pseudo_threshold))
  np.testing.assert_array_equal(pseudo.label, case.pseudo_label)
  close(pseudo.confidence, case.prob)
  close(pseudo.confident_fraction, case.confident_fraction)


@pytest.mark.parametrize("case", golden("sepico/dark_class_weight"))
def test_class_weights_and_weighted_predictions_match_reference(case):
  close5(day_night.frequency_weights(case.class_frequency, 0.05), case.class_weight_std005)
  weights = day_night.frequency_weights(case.class_frequency, 0.16)
  close5(weights, case.class_weight_std016)
  weighted = jax.nn.softmax(jnp.asarray(case.logits)) * weights
  prob = resize.bilinear(weighted, tuple(case.image_hw.tolist()))
  close5(prob, case.weighted_prob)
  np.testing.assert_array_equal(jnp.argmax(prob, -1), case["pred"])
  model = types.SimpleNamespace(apply=lambda _, x, **__: Outputs(255 * x, (), None, {}))
  predict = make_predictor(
    model, mesh.data_mesh(1), Inference(class_weights=tuple(weights.tolist()))
  )
  prediction = predict({}, case.logits, tuple(case.image_hw.tolist()))
  np.testing.assert_array_equal(prediction.label, case["pred"])
