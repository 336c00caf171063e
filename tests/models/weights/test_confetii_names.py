"""Names in released runs of CONFETII: each fills the full-size networks, once and completely."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda import methods, models
from jax_uda.methods import _one_stage_translator as translator
from jax_uda.models import weights
from jax_uda.models.weights import names
from jax_uda.step.method import Task

NETWORKS = {
  "daformer_mitb5": ("mit_b5", "daformer", (0, 1, 2, 3)),
  "dlv2_r101v1c": ("resnet101_v1c", "dlv2", (-1,)),
}
PREFIXES = {"student": "model.", "teacher": "ema_model."}


def lists():
  """Pytest parameters: the form's name in the file, its list."""
  for param in golden("confetii/names"):
    (case,) = param.values
    for form in case:
      if form != "naming":
        yield pytest.param(form, case[form], id=f"{param.id[:-1]}/{form}]")


def file_of(case) -> dict[str, np.ndarray]:
  """Zeros of the shapes in the list, each its own object; they take no memory."""
  entries = {
    f"{prefix}{entry['name']}": entry
    for prefix in case["prefixes"]
    for entry in case["network_entries"]
  }
  entries |= {entry["name"]: entry for entry in case["top_level_entries"]}
  return {name: np.broadcast_to(np.float32(0), entry["shape"]) for name, entry in entries.items()}


def shapes_of(form):
  encoder, decoder, levels = NETWORKS[form]
  method = methods.build(Task(19), name="confetii", levels=levels)
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  model = models.build(encoder=encoder, decoder=decoder, num_classes=19).clone(heads=heads)
  init = functools.partial(model.init, train=False, use_running_average=True)
  return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def same_shapes(filled, shapes) -> bool:
  return jax.tree.map(lambda x: x.shape, filled) == jax.tree.map(lambda x: x.shape, shapes)


@pytest.mark.parametrize("form, case", lists())
def test_a_released_run_fills_student_and_teacher_once_and_leaves_nothing_over(form, case):
  file, shapes = file_of(case), shapes_of(form)
  for network in PREFIXES:
    filled = weights.from_torch(weights.to_reference(file, network), shapes)
    assert same_shapes(filled, shapes)


@pytest.mark.parametrize("form, case", lists())
def test_a_released_run_fills_the_translator_once_and_leaves_nothing_over(form, case):
  file = file_of(case)
  networks = translator.OneStageTranslator(
    translator.OneStage(), num_levels=1, embedding_dim=256, affine_start=0
  )
  params = jax.eval_shape(networks._params, jax.random.key(0))
  used = 0
  for name in ("generator", "discriminator", "patch_mlp"):
    shapes = {"params": params[name]}
    tensors = names.of_translation(file, weights.to_torch(zeros(shapes)).keys())
    assert same_shapes(weights.from_torch(tensors, shapes), shapes)
    used += len(tensors)
  in_file = [
    name
    for name in file
    if name.startswith(("cut_", "model.auxiliary_head.0."))
    and "filt" not in name
    and "gan_loss" not in name
  ]
  assert used == len(in_file)


def zeros(shapes):
  return jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
