"""Networks of the `*_steps` golden files."""

import json

import flax.linen as nn
import golden_cases
import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import models
from jax_uda.models import weights


def tiny_daformer(case: golden_cases.Case, *, drop: float = 0.0) -> models.Segmentor:
  """The small DAFormer network of the file."""
  sizes = {name: tuple(case[name].tolist()) for name in ("embed_dims", "num_heads", "depths")}
  width = int(case.head_embed)
  return models.build(
    encoder="mit_b0",
    decoder="daformer",
    num_classes=int(case.num_classes),
    encoder_options={**sizes, "mlp_ratio": int(case.mlp_ratio), "drop_path": drop},
    decoder_options={"embed_dim": width, "channels": width, "dropout": drop},
  )


def numbered(case: golden_cases.Case, prefix: str) -> tuple[jax.Array, ...]:
  """The arrays `<prefix>0`, `<prefix>1`, … of the file in their order."""
  numbers = sorted(int(name) for name in case.group(prefix) if name.isdigit())
  return tuple(jnp.asarray(case[f"{prefix}{number}"]) for number in numbers)


def without_standardisation(model: models.Segmentor) -> models.Segmentor:
  """The network for images that a file records standardised."""
  return model.clone(image_mean=(0.0,) * 3, image_std=(1.0,) * 3)


def with_statistics(model: models.Segmentor, case: golden_cases.Case) -> models.Segmentor:
  """The network that standardises with the file's `mean` and `std`, RGB in 0..255."""
  unit = lambda values: tuple((np.asarray(values) / 255).tolist())
  return model.clone(image_mean=unit(case.mean), image_std=unit(case.std))


def tensors(case: golden_cases.Case, flat: np.ndarray) -> dict[str, np.ndarray]:
  """A flat vector of all parameters as PyTorch tensors by name."""
  shapes = [tuple(json.loads(str(shape))) for shape in case.param_shapes]
  parts = np.split(flat, np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1])
  return {
    str(name): part.reshape(shape)
    for name, part, shape in zip(case.param_names, parts, shapes, strict=True)
  }


def initial_variables(case: golden_cases.Case, model: models.Segmentor) -> dict:
  """The file's initial parameters, with BatchNorm statistics of mean 0 and variance 1."""
  init = lambda key: model.init(
    key, jnp.zeros((1, 64, 64, 3)), train=False, use_running_average=True
  )
  shapes = jax.eval_shape(init, jax.random.key(0))
  statistics = {
    name: np.ones(value.shape) if name.endswith("_var") else np.zeros(value.shape)
    for name, value in weights.to_torch(
      {"batch_stats": jax.tree.map(lambda s: np.empty(s.shape), shapes["batch_stats"])}
    ).items()
  }
  loaded = weights.from_torch(tensors(case, case.student_w0_flat) | statistics, shapes)
  return jax.tree.map(jnp.asarray, loaded)


def flat_params(case: golden_cases.Case, variables: dict) -> np.ndarray:
  """All parameters in the file's order and layout."""
  by_name = weights.to_torch({"params": variables["params"]})
  return np.concatenate([by_name[str(name)].ravel() for name in case.param_names])


def flat_statistics(case: golden_cases.Case, variables: dict) -> np.ndarray:
  """All BatchNorm statistics in the file's order."""
  by_name = weights.to_torch({"batch_stats": variables["batch_stats"]})
  return np.concatenate([by_name[str(name)].ravel() for name in case.bn_stat_names])


def level_fusion(head: nn.Module, features: tuple, tensors: dict) -> dict:
  """The variables of a decoder with the file's weights, named and laid out as in PyTorch."""
  init = lambda key: head.init(key, features, train=False, use_running_average=True)
  return weights.from_torch(tensors, jax.eval_shape(init, jax.random.key(0)))


def torch_layout(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Tensors stored channels-last (HWIO, linear in x out), laid out as in PyTorch."""
  axes = {4: (3, 2, 0, 1), 2: (1, 0)}
  return {k: v.transpose(axes.get(v.ndim, range(v.ndim))) for k, v in tensors.items()}


def check_level_fusion(case: golden_cases.Case, head: nn.Module) -> None:
  """Compares a decoder with CLUDA's file: both modes, gradients and new statistics."""
  features = numbered(case, "level")
  variables = level_fusion(head, features, torch_layout(case.group("param/")))

  @jax.jit
  def run(features):
    evaluated = head.apply(variables, features, train=False, use_running_average=True)

    def training(features):
      mode = {"train": True, "use_running_average": False}
      return head.apply(variables, features, mutable=["batch_stats"], **mode)

    trained, pullback, state = jax.vjp(training, features, has_aux=True)
    gradients = pullback((jnp.asarray(case.cot_logits), jnp.asarray(case.cot_fused)))
    return evaluated, trained, gradients[0], state

  evaluated, trained, gradients, state = run(features)
  for mode, (logits, fused) in (("eval", evaluated), ("train", trained)):
    golden_cases.assert_close(logits, case[f"logits_{mode}"], 1e-5, 1e-5)
    golden_cases.assert_close(fused, case[f"fused_{mode}"], 1e-5, 1e-5)
  for i, gradient in enumerate(gradients):
    golden_cases.assert_close(gradient, case[f"grad_level{i}"], 1e-4, 1e-8)
  statistics = weights.to_torch(state)
  assert statistics.keys() == case.group("after/").keys()
  for name, expected in case.group("after/").items():
    golden_cases.assert_close(statistics[name], expected, 1e-5, 1e-5)
