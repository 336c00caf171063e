"""CONFETI through the real train step against recorded steps of the reference implementation."""

import functools

import flax.linen as nn
import golden_cases
import golden_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import methods, objectives
from jax_uda.methods import _translator as translator
from jax_uda.models import weights
from jax_uda.models.encoders import imagenet
from jax_uda.models.heads.projection import LinearProjectionHead
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import pixels
from jax_uda.step import optimizer, state, train_step
from jax_uda.step import teacher as teacher_lib
from jax_uda.step.context import Pass, View
from jax_uda.step.method import Auxiliary, Method, Task, ViewMaker, with_unit_images
from jax_uda.views import classmix, self_training, strong

STATISTICS = dict(image_mean=imagenet.MEAN, image_std=imagenet.STD)
as_pixels = functools.partial(golden_steps.as_pixels, mean=imagenet.MEAN, std=imagenet.STD)
NETWORKS = {"generator": "G", "discriminator": "D", "patch_mlp": "F"}
KEY = jax.random.key(0)


def from_file(case: Case, prefix: str, shapes):
  """The parameters of one translation network, without the constant filters."""
  tensors = {k: v for k, v in case.group(prefix).items() if not k.endswith(".filt")}
  return weights.from_torch(tensors, {"params": shapes})["params"]


def translator_options(case: Case, learning_rate) -> dict:
  return dict(
    learning_rate=float(learning_rate),
    num_patches=int(case.num_patches),
    generator=dict(
      width=int(case.ngf), blocks=int(case.n_blocks), nce_layers=case.nce_layers.tolist()
    ),
    discriminator=dict(width=int(case.ndf)),
    patch_mlp=dict(dim=int(case.netF_nc)),
  )


def with_networks(now: state.TrainState, case: Case, reg_proj) -> state.TrainState:
  """The state with the networks of the file, as far as it has them."""
  params = now.auxiliary["params"]
  loaded = {
    name: from_file(case, f"{letter}/", params[name])
    for name, letter in NETWORKS.items()
    if name in params
  }
  if "reg_proj" in params:
    loaded["reg_proj"] = reg_proj
  assert loaded.keys() == params.keys()
  return now.replace(auxiliary={**now.auxiliary, "params": jax.tree.map(jnp.asarray, loaded)})


def compare(found, expected, rtol: float, atol: float) -> None:
  jax.tree.map(lambda a, b: assert_close(a, b, rtol, atol), found, expected)


def compare_tensors(params, recorded: dict[str, np.ndarray], rtol: float, atol: float) -> None:
  """Compares the tensors that the file records, by PyTorch's names, with ours."""
  tensors = weights.to_torch({"params": params})
  assert recorded
  for name, expected in recorded.items():
    assert_close(tensors[name], expected, rtol, atol)


def without_init(networks: Auxiliary) -> Auxiliary:
  """The networks with zeros in place of random numbers, which take long to compile."""
  zeros = lambda x: jnp.zeros(x.shape, x.dtype)
  return networks._replace(init=lambda key: jax.tree.map(zeros, jax.eval_shape(networks.init, key)))


def recorded_draws(case: Case, prefix: str, batch_size: int) -> translator.Draws:
  ids = lambda name: tuple(
    jnp.asarray(case[f"{prefix}/{name}/{i}"]) for i in range(len(case.nce_layers))
  )
  return translator.Draws(ids("src"), ids("idt"), jnp.zeros((batch_size, 2), jnp.int32))


# The translator alone: `cut_joint_step`.


class FrozenEncoder(nn.Module):
  """One convolution of stride 4."""

  kernel: tuple[int, ...]  # its shape [out, in, side, side] in the file

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train, use_running_average
    width, _, *sides = self.kernel
    padding = [(side // 2, side // 2) for side in sides]
    x = nn.Conv(width, sides, strides=4, padding=padding, name="conv")(image)
    return (nn.relu(x),)


def joint_method(case: Case) -> tuple[Method, translator.Translator]:
  """The consistency with recorded prototypes is the whole loss; the student stays as it is."""
  cut = translator.Translator(
    embedding_dim=len(case.reg_bias),
    temperature=float(case.temperature),
    head_learning_rate=1.0,
    weight_decay=float(case.reg_weight_decay),
    **translator_options(case, case.lr),
  )
  comparison = objectives.translation_consistency(
    view="raw", translated_view="translated", translate=cut.translate, regress=cut.regress
  )

  def apply(prototypes, ctx, draws):
    loss, _ = comparison.apply(prototypes, ctx, draws)
    return objectives.Result(loss, prototypes, {})

  def make(draws, batch, teacher, views):
    view = lambda image: View(image, jnp.zeros(image.shape[:3], int), jnp.ones(image.shape[:3]))
    return {"raw": view(batch["source"]["raw"]), "translated": view(batch["source"]["image"])}

  frozen = Pass(outputs=("projection",), frozen=True)
  term = objectives.Objective(lambda key: jnp.asarray(case.prototypes), apply)
  method = Method(
    views={"joint": ViewMaker(make)},
    terms={"consistency": term},
    passes=lambda phase: {"raw": frozen, "translated": frozen},
  )
  return method, cut


def joint_variables(case: Case):
  conv = {"kernel": case["bb/kernel"].transpose(2, 3, 1, 0), "bias": case["bb/bias"]}
  projection = {"kernel": case.proj_kernel.T[None, None]}
  params = {"encoder": {"conv": conv}, "heads_projection": {"conv_proj": projection}}
  return {"params": jax.tree.map(jnp.asarray, params)}


@functools.cache
def joint_run(name: str):
  """The states and metrics of two steps, and the first translation.

  The metrics hold the gradients that the auxiliary networks are given.
  """
  case = golden_cases.load(golden_cases.ROOT / f"{name}.npz")
  method, cut = joint_method(case)
  auxiliary = without_init(cut.auxiliary(lambda step: float(case.reg_lr)))

  def update(now, grads, draws, batch):
    now, metrics = auxiliary.update(now, grads, draws, batch)
    return now, {**metrics, "consistency": grads}

  watched = auxiliary._replace(draw=lambda key, batch: batch["patches"], update=update)
  head = LinearProjectionHead(len(case.proj_kernel))
  encoder = FrozenEncoder(case["bb/kernel"].shape)
  model = Segmentor(encoder, None, {"projection": head}, **STATISTICS)
  tx = optimizer.build(lambda step: 0.0)
  now = state.from_variables(joint_variables(case), method, tx, KEY, watched)
  now = with_networks(now, case, {"kernel": case.reg_kernel.T, "bias": case.reg_bias})
  step = train_step.make_train_step(
    model, method, tx, teacher_rule=teacher_lib.Rule(), auxiliary=watched
  )
  step, states, metrics = jax.jit(step), [now], []
  for t in range(len(case.img)):
    batch = {
      "source": {"image": as_pixels(case.img[t])},
      "target": {"image": as_pixels(case.target_img[t])},
      "patches": recorded_draws(case, f"ids/step{t}", len(case.img[t])),
    }
    now, found = step(states[-1], batch)
    states.append(now)
    metrics.append(found)
  first = with_unit_images({"source": {"image": as_pixels(case.img[0])}})
  style = jax.jit(auxiliary.prepare)(states[0].auxiliary["params"], first)["source"]["image"]
  return case, states, metrics, pixels.standardise(style, imagenet.MEAN, imagenet.STD)


JOINT = golden("confeti/cut_joint_step")


@pytest.mark.parametrize("case", JOINT)
def test_losses_of_the_translator_match_reference(case: Case):
  case, _, metrics, style = joint_run(case.name)
  assert_close(style, case.s2t_0, 1e-4, 2e-5)
  for t, found in enumerate(metrics):
    part = lambda name, found=found: found[f"translator/{name}"]
    total = part("adversarial") + (part("patch_nce") + part("identity_nce")) / 2
    ours = {
      "gan_consis_loss": found["loss"],
      "D": part("discriminator"),
      "G_GAN": part("adversarial"),
      "NCE": part("patch_nce"),
      "NCE_Y": part("identity_nce"),
      "G": total,
    }
    expected = dict(zip(case.loss_names.tolist(), case[f"loss/step{t}"], strict=True))
    for name, value in ours.items():
      assert_close(value, expected[name], 1e-3 if t else 2e-4, 1e-5)


@pytest.mark.parametrize("case", JOINT)
def test_the_consistency_reaches_the_generator_and_reg_proj_only(case: Case):
  case, _, metrics, _ = joint_run(case.name)
  grads = metrics[0]["consistency"]
  compare(grads["generator"], from_file(case, "gradconsis/G/", grads["generator"]), 1e-3, 1e-5)
  assert_close(grads["reg_proj"]["kernel"], case["gradconsis/reg_kernel"].T, 1e-3, 1e-5)
  assert_close(grads["reg_proj"]["bias"], case["gradconsis/reg_bias"], 1e-3, 1e-5)
  others = jax.tree.leaves([grads["discriminator"], grads["patch_mlp"]])
  assert others and not any(leaf.any() for leaf in others)
  assert all(found["grad_norm"] == 0 for found in metrics)  # of the student


@pytest.mark.parametrize("case", JOINT)
def test_gradients_of_the_translator_match_reference(case: Case):
  case, states, _, _ = joint_run(case.name)
  for name, letter in NETWORKS.items():
    optimizer_name = "discriminator" if name == "discriminator" else "generator"
    adam = states[1].auxiliary["optimizers"][optimizer_name][0]
    found = jax.tree.map(lambda m: m / (1 - float(case.beta1)), adam.mu[name])
    atol = 1e-4 if letter == "G" else 1e-5
    compare(found, from_file(case, f"grad/{letter}/", found), 2e-3, atol)


@pytest.mark.parametrize("case", JOINT)
def test_networks_of_the_translator_after_two_steps_match_reference(case: Case):
  case, states, _, _ = joint_run(case.name)
  params = states[-1].auxiliary["params"]
  for name, letter in NETWORKS.items():
    compare_tensors(params[name], case.group(f"after/{letter}/"), 1e-3, 5e-5)
  assert_close(params["reg_proj"]["kernel"].T, case["after/reg_kernel"], 1e-3, 5e-5)


# Whole steps: `train_step_stage1`, `train_step_stage2`.


class ToyEncoder(nn.Module):
  """Two strided convolutions, each with BatchNorm and ReLU; the last map is given."""

  widths: tuple[int, int]

  @nn.compact
  def __call__(self, image, *, train, use_running_average):
    del train
    x = image
    for width, conv, norm in zip(self.widths, (0, 3), (1, 4), strict=True):
      pad = ((1, 1), (1, 1))
      x = nn.Conv(width, (3, 3), strides=2, padding=pad, use_bias=False, name=f"layer_{conv}")(x)
      x = BatchNorm(name=f"layer_{norm}")(x, use_running_average=use_running_average)
      x = nn.relu(x)
    return (x,)


class ToyDecoder(nn.Module):
  """A linear classifier of the last map."""

  num_classes: int

  @nn.compact
  def __call__(self, features, *, train, use_running_average):
    del train, use_running_average
    return nn.Conv(self.num_classes, (1, 1), name="conv")(features[-1]), features[-1]


def tensors_of(case: Case, network: str, heads: str = "") -> dict[str, np.ndarray]:
  """The tensors of one network by the names of our modules' rewriting."""
  found = {
    k.replace("backbone.", "backbone.layer.").replace("decode_head.", "decode_head.conv."): v
    for k, v in case.group(f"{network}/").items()
  }
  return found | (
    {f"aux_heads.{k}": v for k, v in case.group(f"{heads}/").items()} if heads else {}
  )


def recorded_batch(case: Case, t: int) -> dict:
  label, mask = case.label[t].astype(np.int32), case.mix_mask[t]
  batch, *sides = label.shape
  grid = [-(-side // 4) for side in sides]  # of the toy network's map
  priority = np.full((batch, classmix.NUM_IDS), 0.5, np.float32)  # classes that cannot be seen
  for image in range(batch):
    for index in np.unique(label[image]):
      priority[image, index] = 0.0 if mask[image][label[image] == index].any() else 1.0
  none = strong.draw(KEY, batch).replace(jitter_gate=jnp.float32(0), blur_gate=jnp.float32(0))
  rows = {"consistency": None}
  for view, name in (("source", "src"), ("mixed", "mix"), ("target", "tgt")):
    uniforms = np.zeros(batch * np.prod(grid), np.float32)
    if f"sample_idx/t{t}/{name}" in case:
      uniforms[case[f"sample_idx/t{t}/{name}"]] = 0.5
    rows[view] = jnp.asarray(uniforms.reshape(batch, *grid))
  base = self_training.Draws(source=none, mixed=none, classes=jnp.asarray(priority))
  return {
    "source": {"image": jnp.asarray(case.raw_img[t]), "label": jnp.asarray(label)},
    "target": {"image": jnp.asarray(case.raw_target[t])},
    "draws": {"confeti": base, "prototypes": rows},
    "patches": recorded_draws(case, f"patch_ids/t{t}", batch) if int(case.stage) == 1 else None,
  }


def recorded_method(case: Case) -> Method:
  method = methods.build(
    Task(int(case.num_classes)),
    name="confeti",
    stage=int(case.stage),
    thing_classes=tuple(case.fdist_classes.tolist()),
    feature_distance_weight=float(case.fdist_lambda),
    self_training=dict(
      pseudo_threshold=float(case.pseudo_threshold),
      ignore_top=int(case.ignore_top),
      ignore_bottom=int(case.ignore_bottom),
    ),
    mixed_cam_after=int(case.t_mix_cam),
    contrast_after=int(case.t_contrast),
    embedding_dim=case.prototypes.shape[-1],
    contrast=dict(num_samples=int(case.num_samples)),
    translator=dict(
      head_learning_rate=float(case.head_lr_mult),
      weight_decay=float(case.weight_decay),
      **translator_options(case, case.cut_lr),
    ),
  )
  return golden_steps.replayed(method)


@functools.cache
def run(name: str):
  """The states before and after every step, and the metrics."""
  case = golden_cases.load(golden_cases.ROOT / f"{name}.npz")
  method, rate = recorded_method(case), lambda step: float(case.lr)
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  widths = tuple(len(case[f"student0/backbone.{layer}.weight"]) for layer in (0, 3))
  decoder = ToyDecoder(int(case.num_classes))
  model = Segmentor(ToyEncoder(widths), decoder, heads, **STATISTICS)
  tx = optimizer.build(
    rate,
    weight_decay=float(case.weight_decay),
    groups=(optimizer.Group("^(decoder|heads)", float(case.head_lr_mult)),),
    start_steps=method.start_steps,
  )
  auxiliary = without_init(method.auxiliary(rate))._replace(
    draw=lambda key, batch: batch["patches"]
  )
  shapes = jax.eval_shape(
    functools.partial(model.init, train=False, use_running_average=True), KEY, case.raw_img[0] * 1.0
  )
  load = lambda tensors: jax.tree.map(jnp.asarray, weights.from_torch(tensors, shapes))
  start = lambda variables: state.from_variables(variables, method, tx, KEY, auxiliary)
  now = start(load(tensors_of(case, "student0", "aux0")))
  now = now.replace(reference=start(load(tensors_of(case, "imagenet", "aux0"))).reference)
  reg_proj = {
    "kernel": case["reg_proj0/weight"][:, :, 0, 0].T,
    "bias": case["reg_proj0/bias"],
  }
  states, metrics = [with_networks(now, case, reg_proj)], []
  step_of = functools.cache(
    lambda phase: jax.jit(
      train_step.make_train_step(
        model,
        method,
        tx,
        teacher_rule=teacher_lib.Rule(float(case.alpha)),
        auxiliary=auxiliary,
        phase=phase,
      )
    )
  )
  for t in range(len(case.raw_img)):
    batch = recorded_batch(case, t)
    now, found = step_of(method.phase(t))(states[-1], batch)
    states.append(now)
    metrics.append(found)
  return case, states, metrics


STAGES = golden("confeti/train_step_stage")
LOSSES = {
  "cut.loss_D": "translator/discriminator",
  "cut.loss_G_GAN": "translator/adversarial",
  "cut.loss_NCE": "translator/patch_nce",
  "cut.loss_NCE_idt": "translator/identity_nce",
  "decode.loss_seg": "loss/source",
  "loss_cam": "loss/source_classes",
  "src.loss_imnet_feat_dist": "loss/feature_distance",
  "gan_consis_loss": "prototypes/consistency_loss",
  "src_loss_cross": "prototypes/source_contrast",
  "src_reg_loss": "prototypes/source_regularizer",
  "mix.decode.loss_seg": "loss/mixed",
  "mix.loss_cam": "loss/mixed_classes",
  "mix.mix_loss_cross": "prototypes/mixed_contrast",
  "mix.mix_reg_loss": "prototypes/mixed_regularizer",
  "tgt.tgt_loss_cross": "prototypes/target_contrast",
  "tgt.tgt_reg_loss": "prototypes/target_regularizer",
}


@pytest.mark.parametrize("case", STAGES)
def test_losses_match_reference(case: Case):
  case, _, metrics = run(case.name)
  recorded = case.group("log/")
  assert recorded.keys() - {"cut.loss_G"} <= LOSSES.keys()
  for t, found in enumerate(metrics):
    for theirs, ours in LOSSES.items():
      expected = np.nan_to_num(recorded[theirs][t]) if theirs in recorded else 0.0
      assert_close(found.get(ours, 0.0), expected, 1e-3, 1e-4)


@pytest.mark.parametrize("case", STAGES)
def test_prototypes_match_reference(case: Case):
  case, states, _ = run(case.name)
  for t, after in enumerate(states[1:]):
    found = after.objective_state["prototypes"]
    assert_close(found.prototypes, case.prototypes[t], 1e-3, 1e-4)
    np.testing.assert_array_equal(found.counts, case.proto_count[t])


@pytest.mark.parametrize("case", STAGES)
def test_student_and_teacher_match_reference(case: Case):
  case, states, _ = run(case.name)
  student, teacher = states[-1].student, states[-1].teacher["params"]
  load = weights.from_torch
  compare(student, load(tensors_of(case, "student", "aux"), student), 1e-4, 5e-5)
  expected = load(tensors_of(case, "teacher", "ema_aux"), {"params": teacher})["params"]
  compare(teacher, expected, 1e-4, 5e-5)


@pytest.mark.parametrize("case", STAGES)
def test_translator_matches_reference(case: Case):
  case, states, _ = run(case.name)
  first, last = states[0].auxiliary["params"], states[-1].auxiliary["params"]
  compare_tensors(last["generator"], case.group("G_final/"), 1e-4, 5e-5)
  if int(case.stage) == 1:
    assert_close(last["reg_proj"]["kernel"].T, case["reg_proj/weight"][:, :, 0, 0], 1e-4, 5e-5)
    assert_close(last["reg_proj"]["bias"], case["reg_proj/bias"], 1e-4, 5e-5)
  else:
    jax.tree.map(np.testing.assert_array_equal, first, last)
    assert first.keys() == {"generator"}
