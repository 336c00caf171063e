"""RCCR through the real train step against recorded steps of the reference implementation."""

import functools

import flax.linen as nn
import golden_cases
import golden_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden

from jax_uda import methods, models
from jax_uda.memory import region_queue
from jax_uda.methods._rccr import Draws
from jax_uda.models.decoders.dlv2 import DLV2Head
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Task
from jax_uda.views import classmix, cutmix, self_training, strong

CASES = golden("rccr/train_steps")
DILATIONS = (6, 12, 18, 24)  # the files record the first of these branches
close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5)


class Stem(nn.Module):
  """The file's network: a patch convolution, BatchNorm with frozen parameters, ReLU."""

  width: int
  cell: int
  epsilon: float
  momentum: float

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train
    side = (self.cell, self.cell)
    x = nn.Conv(self.width, side, side, padding="VALID", use_bias=False, name="stem")(image)
    norm = BatchNorm(self.epsilon, self.momentum, trainable=False, name="bn")
    return (nn.relu(norm(x, use_running_average=use_running_average)),)


def variables_of(group: dict[str, np.ndarray]) -> dict:
  """Parameters of the file by our names."""
  array = lambda name: jnp.asarray(group[name], jnp.float32)
  conv = lambda kernel, bias: {"kernel": kernel, "bias": bias}
  branches = {
    f"aspp_modules_{i}": {"conv": conv(kernel, bias)}
    for i, (kernel, bias) in enumerate(zip(array("cls_w"), array("cls_b"), strict=True))
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


def cell_of(case: Case) -> int:
  """The side of a cell in pixels, which is the stride of the stem."""
  return len(case["init/stem"])


def box_draws(case: Case, t: int, size: tuple[int, int]) -> cutmix.CutMixDraws:
  """Random numbers that give the box of step t."""
  cell = cell_of(case)
  top, bottom, left, right = case.box[t].tolist()
  # The smallest root that gives both sides; a box of one cell may come from any smaller one.
  sides = (bottom - top, right - left)
  roots = [(n + 0.5) / whole for n, whole in zip(sides, size, strict=True) if n > cell]
  ratio = max(roots, default=0.0) ** 2
  limit = np.asarray(cutmix.num_offsets(ratio, size, cell))
  draws = cutmix.CutMixDraws(
    jnp.float32(ratio), jnp.asarray((np.array([top, left]) // cell + 0.5) / limit, jnp.float32)
  )
  box = cutmix.cutmix_box(draws.ratio, draws.offset, size, cell)
  np.testing.assert_array_equal(box, case.box[t])
  return draws


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
  rows = np.ones((2, num_cells(case)), np.float32)
  for row, index in zip(rows, (case.idx_mix[t], case.idx_target[t]), strict=True):
    row[index] = np.linspace(0, 0.5, len(index))
  base = self_training.Draws(source=none, mixed=none, classes=jnp.asarray(priority))
  return {
    "source": {"image": case.src_image[t], "label": label},
    "target": {"image": case.tgt_image[t]},
    "draws": {
      "self_training": base,
      "region_consistent": Draws(box_draws(case, t, tuple(size)), none),
      "region": jnp.asarray(rows),
    },
  }


def num_cells(case: Case) -> int:
  """How many cells the images of a batch have."""
  batch, height, width = case.src_label.shape[1:]
  return batch * (height // cell_of(case)) * (width // cell_of(case))


def build(case: Case, num_rows: int = 0):
  """The step and the state before the first."""
  num_classes = case["init/cls_b"].shape[-1]
  method = methods.build(
    Task(num_classes),
    name="rccr",
    self_training=dict(align_corners=True),
    region_consistent=dict(
      train_projector=bool(case.projector_trained),
      cell=cell_of(case),
      embedding_dim=len(case["init/proj_b2"]),
      hidden=len(case["init/proj_b1"]),
      contrast=dict(
        num_entries=int(case.arrays.get("bank_capacity", 3)),
        weight=float(case.region_weight_base),
        ramp_steps=int(case.num_iterations),
        num_rows=num_rows or case.idx_mix.shape[1],
      ),
    ),
  )
  method = golden_steps.replayed(method)
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  width = len(case["init/bn_scale"])
  stem = Stem(width, cell_of(case), float(case.bn_eps), float(case.bn_momentum))
  decoder = DLV2Head(num_classes, dilations=DILATIONS[: len(case["init/cls_w"])])
  mean = tuple((case.img_mean_bgr / 255).tolist())
  model = models.Segmentor(stem, decoder, heads, image_mean=mean, image_std=(1 / 255,) * 3)
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
  statistics = {"mean": jnp.zeros(width), "var": jnp.ones(width), **frozen}
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
    assert after.objective_state["region"].length == case.bank_len[t]
  queue = states[-1].objective_state["region"]
  rows, shape, length = region_queue.rows(queue), queue.labels.shape, case.bank_len[-1]
  close(rows.embeddings.reshape(*shape, -1)[:length], case.bank_feat_final)
  np.testing.assert_array_equal(rows.labels.reshape(shape)[:length], case.bank_label_final)


@pytest.mark.parametrize("case", CASES[-1:])
def test_more_rows_than_cells_are_refused_with_the_number_that_fits(case: Case):
  step, now = build(case, num_rows=num_cells(case) + 1)
  with pytest.raises(ValueError, match=f"a batch has {num_cells(case)} cells only"):
    step.lower(now, recorded_batch(case, 0))
