"""SPCL through the real train step against recorded steps of the reference implementation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_cases import Case, assert_close, golden
from golden_steps import as_pixels

from jax_uda import methods
from jax_uda.models.decoders.dlv2 import DLV2Head
from jax_uda.models.segmentor import Segmentor
from jax_uda.objectives._similarity_contrast import ClassPrototypes
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.context import Pass
from jax_uda.step.method import Task

close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
close_state = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


class Pixelwise(nn.Module):
  """The encoder of `train_steps`: a 1x1 convolution and a ReLU."""

  features: int

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train, use_running_average
    return (nn.relu(nn.Conv(self.features, (1, 1), use_bias=False, name="conv")(image)),)


class Recorded(nn.Module):
  """An encoder whose maps are its parameters, by view."""

  @nn.compact
  def __call__(self, image, *, train, use_running_average, view="source"):
    del image, train, use_running_average
    read = lambda name: self.variables["params"][f"{view}_{name}"]
    return tuple(read(name) for name in ("features", "logits"))


class PassOn(nn.Module):
  """A decoder of recorded maps."""

  @nn.compact
  def __call__(self, features, *, train, use_running_average):
    del train, use_running_average
    return features[1], features[0]


def start(model, method, tx, params, *, prototypes=None, auxiliary=None):
  """The state before step 0."""
  variables = {"params": jax.tree.map(jnp.asarray, params)}
  now = state.from_variables(variables, method, tx, jax.random.key(0), auxiliary)
  if prototypes is None:
    return now
  seen = jnp.ones(prototypes.shape[:2], bool)
  memory = ClassPrototypes(jnp.asarray(prototypes), seen)
  return now.replace(objective_state={**now.objective_state, "similarity": memory})


def make_step(model, method, tx, auxiliary=None):
  step = train_step.make_train_step(
    model, method, tx, teacher_rule=teacher.Rule(0.0), auxiliary=auxiliary
  )
  return jax.jit(step)


def reader() -> optax.GradientTransformation:
  """Changes nothing; its state is the last gradient."""
  zeros = functools.partial(jax.tree.map, jnp.zeros_like)
  return optax.GradientTransformation(zeros, lambda grads, *_: (zeros(grads), grads))


def recorded(source: dict[str, np.ndarray], target: dict[str, np.ndarray]):
  """Parameters of `Recorded` from `features` and `logits`, if given, [..., h, w, D]."""
  params = {}
  for view, maps in (("source", source), ("target", target)):
    flat = {name: jnp.asarray(x).reshape(-1, *x.shape[-3:]) for name, x in maps.items()}
    shape = next(iter(flat.values())).shape[:-1]
    for name in ("features", "logits"):
      params[f"{view}_{name}"] = flat.get(name, jnp.zeros((*shape, 1)))
  return {"encoder": params}


def of_views(method):
  """The method with passes that know which view they are of."""
  return method._replace(
    passes=lambda phase: {name: Pass(inputs={"view": name}) for name in ("source", "target")}
  )


@pytest.mark.parametrize("case", golden("spcl/train_steps"))
def test_three_steps_of_the_contrastive_stage_match_the_reference(case: Case):
  num_classes, dim = case.prototypes0.shape
  method = methods.build(
    Task(num_classes),
    name="spcl_contrast",
    feature_dim=dim,
    temperature=float(case.temperature),
    contrast_temperature=float(case.tau),
    contrast_weight=float(case.cl_weight),
    decay=float(case.alpha),
    jitter_strength=0.0,
  )
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=int(case.max_iters), power=float(case.power)
  )
  tx = optimizer.build(
    schedule,
    name="sgd",
    momentum=float(case.momentum),
    weight_decay=float(case.weight_decay),
    groups=(optimizer.Group("^decoder", 10.0),),
  )
  channels = case.x_src.shape[-1]
  model = Segmentor(
    Pixelwise(dim),
    DLV2Head(num_classes),
    image_mean=(0.0,) * channels,
    image_std=(1.0,) * channels,
  )
  branches = {
    f"aspp_modules_{i}": {"conv": {"kernel": kernel, "bias": bias}}
    for i, (kernel, bias) in enumerate(zip(case.cls_w0, case.cls_b0, strict=True))
  }
  params = {"encoder": {"conv": {"kernel": case.fea_w0}}, "decoder": branches}
  now = start(model, method, tx, params, prototypes=case.prototypes0[None])
  step = make_step(model, method, tx)
  for t in range(len(case.lr)):
    batch = {
      "source": {"image": as_pixels(case.x_src[t]), "label": case.src_label[t]},
      "target": {"image": as_pixels(case.x_tgt[t]), "label": case.tgt_pseudo_label[t]},
    }
    now, metrics = step(now, batch)
    close(metrics["loss/source"], case.loss_seg[t])
    close(metrics["loss/similarity"], case.loss_cl[t])
    close(metrics["similarity/correct_pixels"], np.mean(case.src_mask[t] != 255))
    close_state(now.objective_state["similarity"].prototypes[0], case.prototypes[t])
    close(schedule(t), case.lr[t])
    weights = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    found = now.student["params"]
    weights(found["encoder"]["conv"]["kernel"], case.fea_w[t])
    for i in range(4):
      conv = found["decoder"][f"aspp_modules_{i}"]["conv"]
      weights(conv["kernel"], case.cls_w[t, i])
      weights(conv["bias"], case.cls_b[t, i])


@pytest.mark.parametrize("case", golden("spcl/groups"))
def test_groups_have_prototypes_and_losses_of_their_own_as_in_the_reference(case: Case):
  groups, num_classes, dim = case.prototypes0.shape
  settings = dict(feature_dim=dim, groups=groups, jitter_strength=0.0)
  method = of_views(methods.build(Task(num_classes), name="spcl_contrast", **settings))
  model, tx = Segmentor(Recorded(), PassOn()), reader()
  flat = lambda x: np.reshape(x, (-1, *x.shape[2:]))
  source = dict(features=case.src_feat, logits=case.src_logits)
  params = recorded(source, dict(features=case.tgt_feat))
  batch = {
    "source": {"image": np.zeros((groups, 8, 8, 3), np.float32), "label": flat(case.src_label)},
    "target": {"image": np.zeros((groups, 8, 8, 3), np.float32), "label": flat(case.tgt_mask)},
  }
  now = start(model, method, tx, params, prototypes=case.prototypes0)
  now, metrics = make_step(model, method, tx)(now, batch)
  close(metrics["loss/similarity"], case.loss)
  close_state(now.objective_state["similarity"].prototypes, case.prototypes)
  grads = now.opt_state["encoder"]
  assert_close(grads["source_features"], flat(case.grad_src_feat), 1e-4)
  assert_close(grads["target_features"], flat(case.grad_tgt_feat), 1e-4)


def discriminator_params(case: Case, prefix: str):
  names = {"weight": "kernel", "bias": "bias"}
  params = {}
  for key, value in case.group(prefix).items():
    layer, kind = key.split(".")
    params.setdefault(layer, {})[names[kind]] = jnp.asarray(value)
  return params


@pytest.mark.parametrize("case", golden("spcl/adv_warmup"))
def test_two_steps_of_the_adversarial_warm_up_match_the_reference(case: Case):
  method = of_views(
    methods.build(
      Task(case.src_logits.shape[-1]),
      name="spcl_warm_up",
      temperature=float(case.temperature),
      adversarial_weight=float(case.lambda_adv),
      discriminator_width=case["D/conv1.bias"].size,
      discriminator_rate=1.0,
      jitter_strength=0.0,
    )
  )
  model, tx = Segmentor(Recorded(), PassOn()), reader()
  auxiliary = method.auxiliary(lambda step: float(case.lr_d))
  params = recorded(dict(logits=case.src_logits), dict(logits=case.tgt_logits))
  batch = {
    "source": {"image": np.zeros((*case.src_label.shape, 3), np.float32), "label": case.src_label},
    "target": {"image": np.zeros((1, *case.tgt_size, 3), np.float32)},
  }
  now = start(model, method, tx, params, auxiliary=auxiliary)
  now = now.replace(auxiliary={**now.auxiliary, "params": discriminator_params(case, "D/")})
  step = make_step(model, method, tx, auxiliary)
  for t in range(int(case.n_steps)):
    now, metrics = step(now, batch)
    seg, adversarial, *discriminator = case.losses[t]
    close(metrics["loss/source"], seg)
    close(metrics["adversarial/student"], adversarial)
    close(metrics["adversarial/discriminator"], sum(discriminator))
    if t == 0:
      assert_close(now.opt_state["encoder"]["source_logits"], case.grad_src_logits, 1e-3)
      assert_close(now.opt_state["encoder"]["target_logits"], case.grad_tgt_logits, 1e-3)
  after = discriminator_params(case, "D_after/")
  jax.tree.map(lambda a, b: assert_close(a, b, 0, atol=2e-5), now.auxiliary["params"], after)


@functools.cache
def common_base(target: str, start_step: int):
  """States and metrics of two steps of SPCL on DACS with a network of two layers."""
  similarity = dict(target=target, start_step=start_step, threshold=0.0)
  method = methods.build(Task(3), name="spcl", feature_dim=6, similarity=similarity)
  model, tx = Segmentor(Pixelwise(6), DLV2Head(3, dilations=(1,))), optimizer.build(lambda _: 1e-3)
  now = state.create(model, method, tx, image_size=(8, 8), seed=0)
  images = jax.random.randint(jax.random.key(1), (2, 2, 8, 8, 3), 0, 256).astype(jnp.uint8)
  label = jax.random.randint(jax.random.key(2), (2, 8, 8), 0, 3)
  batch = {"source": {"image": images[0], "label": label}, "target": {"image": images[1]}}
  states, metrics = [now], []
  for t in range(2):
    step = train_step.make_train_step(
      model, method, tx, teacher_rule=teacher.Rule(), phase=method.phase(t)
    )
    now, found = jax.jit(step)(states[-1], batch)
    states.append(now)
    metrics.append(found)
  return states, metrics


def test_before_its_start_the_contrast_does_and_collects_nothing():
  states, metrics = common_base("target", 1)
  assert metrics[0]["loss/similarity"] == 0
  assert not states[1].objective_state["similarity"].present.any()
  assert metrics[1]["loss/similarity"] > 0


def test_a_class_without_prototype_takes_the_first_batchs_mean():
  states, metrics = common_base("target", 1)
  memory = states[2].objective_state["similarity"]
  assert memory.present.any() and metrics[1]["similarity/classes_seen"] == memory.present.sum()
  norms = np.linalg.norm(memory.prototypes, axis=-1)
  assert np.all(norms[memory.present] > 0.1) and not norms[~np.asarray(memory.present)].any()


def test_the_mixed_view_may_stand_for_the_target():
  _, metrics = common_base("mixed", 0)
  seen = float(metrics[0]["similarity/classes_seen"])
  value = float(metrics[0]["similarity/target"])
  assert seen == 1 or value == pytest.approx(np.log(seen), abs=0.02)  # temperature 100


def test_labels_from_files_are_asked_for_when_they_are_missing():
  method = methods.build(Task(3), name="spcl_contrast", feature_dim=2)
  label = jnp.zeros((1, 4, 4), jnp.int32)
  batch = {"source": {"image": jnp.zeros((1, 4, 4, 3)), "label": label}}
  batch["target"] = {"image": batch["source"]["image"]}
  with pytest.raises(ValueError, match=r"data\.pseudo_labels is missing"):
    method.make_views(method.draw(jax.random.key(0), batch), batch, None)
