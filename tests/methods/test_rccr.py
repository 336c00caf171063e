"""RCCR through the real train step against recorded steps of the reference implementation."""

import functools

import flax.linen as nn
import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden

from jax_uda import methods, models
from jax_uda.memory import region_queue
from jax_uda.methods import extension
from jax_uda.methods._rccr import Draws
from jax_uda.models.decoders.dlv2 import DLV2Head
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Task
from jax_uda.views import classmix, cutmix, self_training, strong

CASES = golden("rccr/train_steps")
CELL = 8
close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5)


class Stem(nn.Module):
  """The file's network: a patch convolution, BatchNorm with frozen parameters, ReLU."""

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train
    x = nn.Conv(8, (CELL, CELL), CELL, padding="VALID", use_bias=False, name="stem")(image)
    norm = BatchNorm(trainable=False, name="bn")
    return (nn.relu(norm(x, use_running_average=use_running_average)),)


def variables_of(group: dict[str, np.ndarray]) -> dict:
  """Parameters of the file by our names."""
  array = lambda name: jnp.asarray(group[name], jnp.float32)
  conv = lambda kernel, bias: {"kernel": kernel, "bias": bias}
  branches = {
    f"aspp_modules_{i}": {"conv": conv(array("cls_w")[i], array("cls_b")[i])} for i in range(2)
  }
  head = {
    "project_0": conv(array("proj_w1"), array("proj_b1")),
    "project_2": conv(array("proj_w2"), array("proj_b2")),
  }
  return {
    "encoder": {"stem": {"kernel": array("stem")}},
    "decoder": branches,
    "heads_region": head,
  }


def recorded_batch(case: Case, t: int) -> dict:
  """Images as RGB would be: the file's BGR and its mean are handed on as they are."""
  label = case.src_label[t]
  batch, *size = label.shape
  priority = np.ones((batch, classmix.NUM_IDS), np.float32)
  for image, classes in enumerate(case.classes_selected[t]):
    priority[image, classes[classes >= 0]] = 0
  none = strong.draw(jax.random.key(0), batch).replace(
    jitter_gate=jnp.float32(0), blur_gate=jnp.float32(0)
  )
  top, bottom, left, _ = case.box[t]
  cells = np.array([size[0] // CELL, size[1] // CELL])
  ratio = ((bottom - top + 0.5) / size[0]) ** 2
  limit = np.asarray(cutmix.num_offsets(ratio, tuple(size), CELL))
  offset = (np.array([top, left]) // CELL + 0.5) / limit
  rows = np.ones((2, batch * np.prod(cells + 1)), np.float32)
  for row, index in zip(rows, (case.idx_mix[t], case.idx_target[t]), strict=True):
    row[index] = np.linspace(0, 0.5, len(index))
  own = Draws(cutmix.CutMixDraws(jnp.float32(ratio), jnp.asarray(offset)), none, rows)
  base = self_training.Draws(source=none, mixed=none, classes=jnp.asarray(priority))
  return {
    "source": {"image": case.src_image[t], "label": label},
    "target": {"image": case.tgt_image[t]},
    "draws": extension.Draws(base, own),
  }


def build(case: Case, **settings):
  """The step and the state before the first."""
  num_classes = case["init/cls_b"].shape[-1]
  method = methods.build(
    Task(num_classes),
    name="rccr",
    align_corners=True,
    train_projector=bool(case.projector_trained),
    embedding_dim=case["init/proj_b2"].shape[0],
    weight=float(case.region_weight_base),
    ramp_steps=int(case.num_iterations),
    **{"num_rows": case.idx_mix.shape[1], **settings},
  )
  method = method._replace(draw=lambda key, batch: batch["draws"])
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  model = models.Segmentor(
    Stem(),
    DLV2Head(num_classes, dilations=(6, 12)),
    heads,
    image_mean=tuple((case.img_mean_bgr / 255).tolist()),
    image_std=(1 / 255,) * 3,
  )
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=int(case.num_iterations), power=0.9
  )
  first = int(case.iter[0])
  tx = optimizer.build(
    lambda step: schedule(step + first),
    name="sgd",
    momentum=float(case.momentum),
    weight_decay=float(case.weight_decay),
    groups=(optimizer.Group("^(decoder|heads)", learning_rate=10.0),),
    start_steps=method.start_steps,
  )
  params = variables_of(case.group("init/"))
  frozen = {name: jnp.asarray(case[f"init/bn_{name}"], jnp.float32) for name in ("scale", "bias")}
  statistics = {"mean": jnp.zeros(8), "var": jnp.ones(8), **frozen}
  variables = {"params": params, "batch_stats": {"encoder": {"bn": statistics}}}
  now = state.from_variables(variables, method, tx, jax.random.key(0))
  now = now.replace(step=jnp.int32(first))
  rule = teacher.Rule(0.99, after_update=True)
  return jax.jit(train_step.make_train_step(model, method, tx, teacher_rule=rule)), now


@functools.cache
def run(name: str):
  case = golden_cases.load(golden_cases.ROOT / f"{name}.npz")
  step, now = build(case)
  states, metrics = [now], []
  for t in range(len(case.iter)):
    now, found = step(now, recorded_batch(case, t))
    states.append(now)
    metrics.append(found)
  return case, states, metrics


@pytest.mark.parametrize("case", CASES)
def test_losses_match_reference(case: Case):
  case, _, metrics = run(case.name)
  expected = {
    "loss/source": case.loss_src,
    "loss/mixed": case.loss_consistency,
    "region/raw": case.loss_region_raw,
    "region/weight": case.region_weight,
    "region/anchors": case.n_anchor,
    "weight/target": case.unlabeled_weight,
    "loss": case.loss_total,
  }
  for name, values in expected.items():
    found = [step[name] for step in metrics]
    np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_networks_match_reference(case: Case):
  case, states, _ = run(case.name)
  at = lambda group, t: variables_of({name: value[t] for name, value in group.items()})
  for t, after in enumerate(states[1:]):
    for network in ("student", "teacher"):
      expected = at(case.group(f"{network}/"), t)
      jax.tree.map(close, getattr(after, network)["params"], expected)
    norms = [getattr(after, n)["batch_stats"]["encoder"]["bn"] for n in ("student", "teacher")]
    close(norms[0]["mean"], case.bn_running_mean[t])
    close(norms[0]["var"], case.bn_running_var[t])
    close(norms[1]["mean"], case.teacher_bn_running_mean[t])


@pytest.mark.parametrize("case", CASES)
def test_queues_match_reference(case: Case):
  case, states, _ = run(case.name)
  for t, after in enumerate(states[1:]):
    assert after.objective["region"].length == case.bank_len[t]
  queue = states[-1].objective["region"]
  rows, shape = region_queue.rows(queue), queue.labels.shape
  close(rows.embeddings.reshape(*shape, -1), case.bank_feat_final)
  np.testing.assert_array_equal(rows.labels.reshape(shape), case.bank_label_final)


def test_more_rows_than_cells_are_refused_with_the_number_that_fits():
  case = golden_cases.load(golden_cases.ROOT / "rccr" / "train_steps_trained_projector.npz")
  step, now = build(case, num_rows=100)
  with pytest.raises(ValueError, match="set config.method.num_rows to 72"):
    step.lower(now, recorded_batch(case, 0))
