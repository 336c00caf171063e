"""SePiCo through the real train step against recorded steps of the reference implementation."""

import functools
from typing import Any

import flax.linen as nn
import golden_cases
import golden_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden

from jax_uda import methods
from jax_uda.memory import ring_bank
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import resize
from jax_uda.step import optimizer, state, train_step
from jax_uda.step import teacher as teacher_lib
from jax_uda.step.context import Passes
from jax_uda.step.method import Task, with_unit_images
from jax_uda.views import classmix, self_training, strong
from jax_uda.views.sepico import Draws

VARIANTS = {"proto": "prototype", "dist": "distribution", "bank": "bank"}


class ToyEncoder(nn.Module):
  """A patch convolution with BatchNorm and, if the file has one, a second of its map."""

  kernels: tuple[tuple[int, ...], ...]  # the shapes [side, side, in, out] of the convolutions

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train
    patches = [
      nn.Conv(width, side, side, padding="VALID", use_bias=i > 0, name=f"patch{i}")
      for i, (*side, _, width) in enumerate(self.kernels)
    ]
    x = BatchNorm(name="bn0")(patches[0](image), use_running_average=use_running_average)
    maps = [nn.relu(x)]
    for patch in patches[1:]:
      maps.append(nn.relu(patch(maps[-1])))
    return tuple(maps)


class ToyDecoder(nn.Module):
  """A linear classifier of all levels."""

  num_classes: int

  @nn.compact
  def __call__(self, features, *, train, use_running_average):
    del train, use_running_average
    size = features[0].shape[1:3]
    x = jnp.concatenate([resize.bilinear(level, size) for level in features], -1)
    return nn.Conv(self.num_classes, (1, 1), name="conv_seg")(x), x


def variables_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  """The file's names (`proj/bn0/mean`) as a segmentor's variables."""
  tree: dict[str, Any] = {}
  for name, value in arrays.items():
    top, *path, leaf = name.split("/")
    if top == "proj":
      kind, index = path[0][:-1], path[0][-1]
      path = [f"convs_{index}", kind]
    module = {"backbone": "encoder", "decode": "decoder", "proj": "heads_projection"}[top]
    node = tree.setdefault("batch_stats" if leaf in ("mean", "var") else "params", {})
    for part in (module, *path):
      node = node.setdefault(part, {})
    node[leaf] = jnp.asarray(value, jnp.float32)
  return tree


def build(case: Case):
  weights = np.asarray(case.class_weight) if int(case.dark) else None
  method = methods.build(
    Task(int(case.num_classes)),
    name="sepico",
    start_step=int(case.start_distribution_iter),
    max_class_ratio=float(case.cat_max_ratio),
    self_training=dict(
      pseudo_threshold=float(case.pseudo_threshold),
      ignore_top=int(case.ignore_top),
      ignore_bottom=int(case.ignore_bottom),
    ),
    day_night_fusion=bool(case.dark),
    class_weights=weights,
    embedding_dim=int(case.proj_dim),
    head_options=dict(hidden=case["init/proj/conv0/kernel"].shape[-1]),
    contrast=dict(
      variant=VARIANTS[str(case.variant)],
      temperature=float(case.contrast_temp),
      regularizer_weight=float(case.reg_weight),
      min_ratio=float(case.min_ratio),
      bank_length=max(int(case.memory_length), 1),
    ),
  )
  method = golden_steps.replayed(method)
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  levels = range(int(case.backbone_outputs))
  kernels = tuple(case[f"init/backbone/patch{i}/kernel"].shape for i in levels)
  model = Segmentor(ToyEncoder(kernels), ToyDecoder(int(case.num_classes)), heads)
  tx = optimizer.build(
    lambda step: float(case.lr_backbone),
    weight_decay=float(case.weight_decay),
    groups=(optimizer.Group("^(decoder|heads)", float(case.lr_head) / float(case.lr_backbone)),),
    start_steps=method.start_steps,
  )
  return model, method, tx


def recorded_batch(case: Case, t: int) -> dict[str, Any]:
  """The batch of step t with what the reference drew; no jitter and no blur."""
  label, mask = case.gt[t], case.mix_mask[t]
  batch = len(label)
  priority = np.full((batch, classmix.NUM_IDS), 0.5, np.float32)  # classes that cannot be seen
  for image in range(batch):
    for index in np.unique(label[image]):
      priority[image, index] = 0.0 if mask[image][label[image] == index].any() else 1.0
  none = strong.draw(jax.random.key(0), batch).replace(
    jitter_gate=jnp.float32(0), blur_gate=jnp.float32(0)
  )
  base = self_training.Draws(source=none, mixed=none, classes=jnp.asarray(priority))
  target = {"image": golden_steps.as_pixels(case.target_full[t])}
  if int(case.dark):
    target["day_image"] = golden_steps.as_pixels(case.target_day_full[t])
  return {
    "source": {"image": golden_steps.as_pixels(case.img[t]), "label": label},
    "target": target,
    "draws": {"sepico": Draws(base, none, jnp.asarray(case.cand_yx[t]))},
  }


@functools.cache
def run(name: str):
  """Everything about the steps of one file: states, metrics and the views of each step."""
  case = golden_cases.load(golden_cases.ROOT / f"{name}.npz")
  model, method, tx = build(case)
  now = state.from_variables(variables_of(case.group("init/")), method, tx, jax.random.key(0))
  states, metrics, views = [now], [], []
  step_of = functools.cache(
    lambda phase: jax.jit(
      train_step.make_train_step(
        model, method, tx, teacher_rule=teacher_lib.Rule(float(case.alpha)), phase=phase
      )
    )
  )

  @jax.jit
  def look(teacher, batch):
    passes = Passes(train_step.teacher_network(model, method.teacher_outputs), teacher)
    return method.make_views(batch["draws"], with_unit_images(batch), passes)

  for t in range(int(case.num_steps)):
    batch = recorded_batch(case, t)
    now, found = step_of(method.phase(t))(states[-1], batch)
    states.append(now)
    metrics.append(found)
    views.append(look(now.teacher, batch))  # the teacher that the step used
  return case, states, metrics, views


CASES = golden("sepico/step")
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_losses_match_reference(case: Case):
  case, _, metrics, _ = run(case.name)
  for t, found in enumerate(metrics):
    expected = {
      "loss/source": case.loss_src_ce[t],
      "loss/mixed": case.loss_mix_ce[t],
      "contrast/source": case.loss_src_cl[t],
      "contrast/target": case.loss_tgt_cl[t],
    }
    for name, value in expected.items():
      close(found.get(name, 0.0), value, err_msg=f"{name} {t}")


@pytest.mark.parametrize("case", CASES)
def test_statistics_and_banks_match_reference(case: Case):
  case, states, _, _ = run(case.name)
  for t, after in enumerate(states[1:]):
    memory = after.objective_state["contrast"]
    close(memory.statistics.mean, case["mean"][t])
    close(memory.statistics.variance, case.covariance[t])
    np.testing.assert_array_equal(memory.statistics.count, case.amount[t])
    if "bank" in case:
      close(ring_bank.oldest_first(memory.bank), case.bank[t])
      np.testing.assert_array_equal(memory.bank.length, case.bank_len[t])


@pytest.mark.parametrize("case", CASES)
def test_views_match_reference(case: Case):
  case, _, _, views = run(case.name)
  for t, found in enumerate(views):
    np.testing.assert_array_equal(found["target"].label, case.pseudo_label[t])
    close(found["target"].weight, case.pseudo_weight[t])
    np.testing.assert_array_equal(found["mixed"].label, case.mixed_label[t])
    close(found["mixed"].weight, case.mixed_weight[t])
    close(found["mixed"].image, case.mixed_img[t])


@pytest.mark.parametrize("case", CASES)
def test_networks_match_reference(case: Case):
  case, states, _, _ = run(case.name)
  closer = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-5)
  for t, after in enumerate(states[1:]):
    student = variables_of(case.group(f"student{t}/"))
    jax.tree.map(closer, {k: after.student[k] for k in student}, student)
    teacher = variables_of(case.group(f"teacher{t}/"))
    jax.tree.map(closer, after.teacher["params"], teacher["params"])
