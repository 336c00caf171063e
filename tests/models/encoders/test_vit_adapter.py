"""The network of VFM-UDA++ agrees with the reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.models import catalog, weights
from jax_uda.models.decoders.pyramid import PyramidHead
from jax_uda.models.encoders.vit_adapter import ViTAdapter
from jax_uda.models.layers.vit_adapter import SpatialPrior

EVAL = {"train": False, "use_running_average": True}
TRAIN = {"train": True, "use_running_average": False}
# The tests compile without optimization, which sums in an order that lets ReLUs and pooling tie otherwise.
OPTIMIZED = {"xla_backend_optimization_level": 1}


def variables_of(module, tensors, prefix, *arguments, mode=EVAL):
  """The module's variables with a file's weights, which are named without `prefix`."""
  init = lambda: module.init(jax.random.key(0), *arguments, **mode)
  shapes = {kind: {prefix: tree} if prefix else tree for kind, tree in jax.eval_shape(init).items()}
  loaded = weights.from_torch(tensors, shapes)
  return jax.tree.map(
    jnp.asarray, {kind: tree[prefix] if prefix else tree for kind, tree in loaded.items()}
  )


def by_torch_name(tree, prefix, collection="params"):
  wrapped = {collection: {prefix: tree} if prefix else tree}
  word = {"encoder": "backbone.", "decoder": "decode_head."}.get(prefix, "")
  return {n.removeprefix(word): t for n, t in weights.to_torch(wrapped).items()}


def with_word(tensors, word):
  return {f"{word}{name}": tensor for name, tensor in tensors.items()}


def run(module, variables, inputs, loss, mode):
  """Outputs, gradients by parameters and inputs, and the new statistics; compiled."""

  @jax.jit
  def call(variables, inputs):
    def total(params, inputs):
      outputs, updated = module.apply(
        {**variables, "params": params}, *inputs, **mode, mutable=["batch_stats"]
      )
      return loss(outputs), (outputs, updated)

    (_, (outputs, updated)), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(
      variables["params"], inputs
    )
    return outputs, gradients, updated["batch_stats"]

  return call.lower(variables, inputs).compile(compiler_options=OPTIMIZED)(variables, inputs)


@pytest.mark.parametrize("case", golden("vfm_plus/spatial_prior"))
def test_the_convolutional_branch_matches_the_reference(case):
  module = SpatialPrior(case.c1_eval.shape[-1], len(case["w/stem.1.bias"]))
  variables = variables_of(
    module, case.group("w/"), "", jnp.asarray(case.x), mode={"use_running_average": True}
  )
  loss = lambda maps: sum(jnp.vdot(x, case[f"cot{i}"]) for i, x in enumerate(maps, 1))
  for name, mode, tolerance in (("eval", EVAL, 1e-4), ("train", TRAIN, 1e-3)):
    mode = {"use_running_average": mode["use_running_average"]}
    maps, (gradients, by_inputs), statistics = run(
      module, variables, (jnp.asarray(case.x),), loss, mode
    )
    for i, x in enumerate(maps, 1):
      assert_close(x, case[f"c{i}_{name}"], tolerance)
    assert_close(by_inputs[0][:, ::4, ::4], case[f"grad_x_sub4_{name}"], tolerance)
    gradients = by_torch_name(gradients, "")
    for weight, expected in case.group(f"grad_w_{name}/").items():
      assert_close(gradients[weight], expected, tolerance)
  statistics = by_torch_name(statistics, "", "batch_stats")
  for weight, expected in case.group("new_stats/").items():
    assert_close(statistics[weight], expected, 1e-3)


@pytest.mark.parametrize("case", golden("vfm_plus/pyramid_head"))
def test_the_pyramid_matches_the_reference(case):
  module = PyramidHead(int(case.num_classes))
  features = tuple(jnp.asarray(case[f"f{i}"]) for i in range(1, 5))
  tensors = with_word(case.group("w/"), "decode_head.")
  variables = variables_of(module, tensors, "decoder", features)
  loss = lambda outputs: jnp.vdot(outputs[0], case.cot)
  for name, mode, tolerance in (("eval", EVAL, 1e-4), ("train", TRAIN, 3e-4)):
    (logits, _), (gradients, by_inputs), statistics = run(
      module, variables, (features,), loss, mode
    )
    assert_close(logits, case[f"out_{name}"], tolerance)
    for i, gradient in enumerate(by_inputs[0], 1):
      step = 4 if i == 1 else 1
      assert_close(gradient[:, ::step, ::step], case[f"grad_f{i}_{name}"], tolerance)
    gradients = by_torch_name(gradients, "decoder")
    for weight, expected in case.group(f"grad_w_{name}/").items():
      assert_close(gradients[weight], expected, tolerance)
  statistics = by_torch_name(statistics, "decoder", "batch_stats")
  for weight, expected in case.group("new_stats/").items():
    assert_close(statistics[weight], expected, 3e-4)


def adapter_of(case, **options):
  sizes = {name: int(case[name]) for name in ("embed_dim", "depth", "num_heads", "deform_heads")}
  ends = [last + 1 for _, last in case.interactions.tolist()]
  assert ends == [int(case.depth) * (i + 1) // 4 for i in range(4)]
  return ViTAdapter(
    **sizes,
    position_grid=int(case.pos_grid),
    spatial_width=int(case.inplanes),
    patch=int(case.patch),
    **options,
  )


@pytest.mark.parametrize("case", golden("vfm_plus/vit_adapter_tiny"))
def test_the_encoder_matches_the_reference(case):
  module, x = adapter_of(case, remat=True), jnp.asarray(case.x)
  inner = int(case.inner_size)
  assert module.token_grid(*x.shape[1:3]) == (inner // module.patch,) * 2
  variables = variables_of(module, with_word(case.group("w/"), "backbone."), "encoder", x)
  stored = lambda maps: [x[:, :: 8 >> i, :: 8 >> i] for i, x in enumerate(maps)]
  loss = lambda maps: sum(jnp.vdot(x, case[f"cot{i}"]) for i, x in enumerate(stored(maps), 1))
  for name, mode, tolerance in (("eval", EVAL, 1e-4), ("train", TRAIN, 1e-3)):
    maps, (gradients, by_inputs), statistics = run(module, variables, (x,), loss, mode)
    for i, value in enumerate(stored(maps), 1):
      assert_close(value, case[f"f{i}_{name}"], tolerance)
    assert_close(by_inputs[0][:, ::4, ::4], case[f"grad_x_sub4_{name}"], 5e-3)
    gradients = by_torch_name(gradients, "encoder")
    for weight, expected in case.group(f"grad_w_{name}/").items():
      assert_close(gradients[weight], expected, tolerance)
  names = case.grad_norm_names.tolist()
  assert sorted(names) == sorted(gradients)
  norms = [np.linalg.norm(gradients[name]) for name in names]
  assert_close(norms, case.grad_norms, 1e-3)
  statistics = by_torch_name(statistics, "encoder", "batch_stats")
  for weight, expected in case.group("new_stats/").items():
    assert_close(statistics[weight], expected, 1e-3)


@pytest.mark.fast
@pytest.mark.parametrize("side, inner", [(48, 224), (512, 672), (1024, 1120), (2048, 2240)])
def test_images_are_resized_to_the_nearest_sides_of_patches_and_strides(side, inner):
  rows, columns = catalog.ENCODERS["dinov2_vits14_adapter"]().token_grid(side, 1024)
  assert (rows * 14, columns * 14) == (inner, 1120)
