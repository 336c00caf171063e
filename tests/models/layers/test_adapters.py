"""LoRA and Rein agree with recorded values; in an encoder they start at the base network."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import models
from jax_uda.common.registry import SettingError
from jax_uda.models import weights
from jax_uda.models.layers import block_stack, lora, rein, vit

MODE = {"train": False, "use_running_average": True}
SMALL = {"embed_dim": 8, "depth": 2, "num_heads": 2}


def loaded(tensors, module, *args):
  """The variables of a module from PyTorch tensors by the names of our parameters."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
  return jax.tree.map(jnp.asarray, weights.from_torch(tensors, shapes))


class Adapted(nn.Module):
  """An attention layer with LoRA."""

  adapter: lora.LoRA
  num_heads: int

  @nn.compact
  def __call__(self, x):
    with self.adapter.applied():
      return vit.Attention(self.num_heads, name="attn")(x)


@pytest.mark.parametrize("case", golden("base/lora"))
def test_lora_matches_the_recorded_values(case):
  adapter = lora.LoRA(int(case.rank), float(case.alpha))
  assert adapter.factor == float(case.scaling)
  module, x = Adapted(adapter, int(case.num_heads)), jnp.asarray(case.x)
  named = lambda tensors: {f"attn.{name}": tensor for name, tensor in tensors.items()}
  variables = loaded(named(case.group("w/")), module, x)
  merged = adapter.merge(jax.device_get(variables["params"]))

  @jax.jit
  def run(variables, x):
    out, pullback = jax.vjp(module.apply, variables, x)
    base = lambda params: vit.Attention(int(case.num_heads)).apply({"params": params["attn"]}, x)
    return out, pullback(jnp.asarray(case.cot)), base(variables["params"]), base(merged)

  out, (gradients, grad_x), plain, merged_out = run(variables, x)
  assert_close(out, case.out, 1e-5)
  assert_close(plain, case.out_without_adapter, 1e-5)
  assert_close(merged_out, case.out, 1e-5)
  assert_close(grad_x, case.grad_x, 1e-5)
  by_name = weights.to_torch(gradients)
  for name, expected in case.group("grad_w/").items():
    assert_close(by_name[f"attn.{name}"], expected, 1e-5)
  by_name = weights.to_torch({"params": merged})
  assert not any("lora" in name for name in by_name)
  for name, expected in case.group("merged/").items():
    assert_close(by_name[f"attn.{name}"], expected, 1e-5)


@pytest.mark.parametrize("case", golden("base/lora"))
def test_the_teacher_averages_the_factors(case):
  decay = float(case.ema_decay)
  student, before = case.group("w/"), case.group("teacher_before/")
  average = {n: decay * t + (1 - decay) * student[n] for n, t in before.items()}
  for name, expected in case.group("teacher_after/").items():
    assert_close(average[name], expected, 1e-5)
  adapter = lora.LoRA(int(case.rank), float(case.alpha))
  for name in ("qkv", "proj"):
    factors = {f"lora_{letter}": average[f"{name}.lora_{letter}"] for letter in "ab"}
    merged = adapter.merge({"kernel": student[f"{name}.weight"].T, **factors})["kernel"].T
    assert_close(merged, case[f"teacher_after_merged/{name}.weight"], 1e-5)
    assert np.abs(merged - case[f"ema_of_merged/{name}.weight"]).max() > 1e-3


def query_link(case, tokens):
  """The published decoder's queries, which our plain heads leave out."""
  linear = lambda x, name: x @ case[f"w/{name}.weight"].T + case[f"w/{name}.bias"]
  t = linear(tokens, "transform")
  joined = jnp.stack([t.max(0), t.mean(0), t[-1]], -1)  # interleaved per channel
  return linear(joined.reshape(len(t[0]), -1), "merge")


class ToyBlock(nn.Module):
  """The file's block."""

  dim: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.zeros, (self.dim, self.dim))
    bias = self.param("bias", nn.initializers.zeros, (self.dim,))
    return x + jnp.tanh(x @ kernel + bias) + 0.1 * x.mean(1, keepdims=True)


class Toy(nn.Module):
  """Blocks with Rein; returns x after all of them and after each, and the tokens."""

  settings: rein.Rein
  depth: int
  dim: int
  scan: bool = False

  @nn.compact
  def __call__(self, x):
    shared = rein.Reins(self.settings, self.depth, self.dim, 16, name="reins")(x.dtype)
    blocks = [ToyBlock(self.dim, name=f"blocks_{i}") for i in range(self.depth)]
    call = lambda block, x, tokens: rein.refine(block(x), tokens, shared, self.settings, 1)
    if self.scan:
      return block_stack.run(self, blocks, x, call, shared.tokens, scan=True, remat=True)
    outputs = []
    for i, block in enumerate(blocks):
      x = block_stack.run(self, [block], x, call, shared.tokens[i : i + 1], scan=False, remat=False)
      outputs.append(x)
    return jnp.stack(outputs), shared


def rein_case(part):
  settings = rein.Rein(
    tokens=int(part.token_length),
    rank=int(part.lora_dim),
    use_softmax=bool(part.use_softmax),
    zero_start=not np.isnan(part.fixed_scale),
  )
  toy = Toy(settings, int(part.num_layers), int(part.embed_dims))
  tensors = {
    f"reins.{name}": np.asarray(tensor)
    for name, tensor in part.group("w/").items()
    if not name.startswith(("transform", "merge"))
  }
  for i, (kernel, bias) in enumerate(zip(part.block_w, part.block_b, strict=True)):
    tensors |= {f"blocks.{i}.weight": kernel.T, f"blocks.{i}.bias": bias}
  return toy, loaded(tensors, toy, jnp.asarray(part.x))


@pytest.mark.parametrize("case", golden("base/rein"))
def test_rein_matches_the_recorded_values(case):
  for part in case.parts():
    toy, variables = rein_case(part)

    @jax.jit
    def run(variables, x, toy=toy, part=part):
      def forward(variables, x):
        outputs, shared = toy.apply(variables, x)
        queries = query_link(part, shared.tokens) if part.link else jnp.zeros(())
        return (outputs, queries), shared

      (outputs, queries), pullback, shared = jax.vjp(forward, variables, x, has_aux=True)
      cotangents = (jnp.asarray(part.cot), part.cot_queries if part.link else jnp.zeros(()))
      once = lambda x, i, prefix: rein.refine(x, shared.tokens[i], shared, toy.settings, prefix)
      scanned = toy.clone(scan=True).apply(variables, x)
      return outputs, queries, pullback(cotangents), once(x, 1, 1), once(x[:, 1:], 0, 0), scanned

    outputs, queries, (gradients, grad_x), one, no_cls, scanned = run(variables, part.x)
    assert_close(outputs, part.out, 1e-5)
    assert_close(scanned, part.out[-1], 1e-5)
    assert_close(one, part.layer1_only, 1e-5)
    assert_close(no_cls, part.layer0_no_cls, 1e-5)
    assert_close(grad_x, part.grad_x, 1e-4)
    if part.link:
      assert_close(queries, part.queries, 1e-5)
    by_name = weights.to_torch(gradients)
    for name, expected in part.group("grad_w/").items():
      if not name.startswith(("transform", "merge")):
        assert_close(by_name[f"reins.{name}"], expected, 1e-4)


def build(adapter, encoder="dinov3_vits16", **options):
  return models.build(
    encoder=encoder, decoder="vit_head", num_classes=3, encoder_options={**SMALL, **options},
    adapter=adapter,
  )  # fmt: skip


IMAGE = jnp.linspace(0, 1, 32 * 48 * 3).reshape(1, 32, 48, 3)


@pytest.mark.parametrize(
  "adapter",
  [{"name": "lora", "rank": 3}, {"name": "rein", "tokens": 4, "rank": 2, "zero_start": True}],
)
def test_an_adapter_starts_at_the_base_network_and_can_be_switched_off(adapter):
  model, scanned = build(adapter), build(adapter, scan_blocks=True, remat=True)
  variables = jax.jit(functools.partial(model.init, **MODE))(jax.random.key(0), IMAGE)
  draw = np.random.default_rng(0).normal  # DINOv3's layer scales start near 0
  moved = jax.tree.map(lambda x: x + np.float32(0.3) * draw(size=x.shape).astype("f"), variables)
  features = lambda model, variables: model.apply(variables, IMAGE, **MODE).features[0]
  encode = lambda variables: model.apply(variables, IMAGE, **MODE, method="encode")[0]

  @jax.jit
  def run(variables, moved):
    at_start = features(model, variables), encode(variables)
    return *at_start, features(model, moved), encode(moved), features(scanned, moved)

  start, base, adapted, off, again = run(variables, moved)
  np.testing.assert_allclose(start, base, atol=1e-5)
  assert np.abs(adapted - off).max() > 1e-2
  np.testing.assert_allclose(again, adapted, atol=1e-4)
  if adapter["name"] == "lora":  # merged, a network without an adapter computes the same
    merged = {"params": model.encoder.adapter.merge(jax.device_get(moved["params"]))}
    plain = build(None)
    shapes = jax.eval_shape(functools.partial(plain.init, **MODE), jax.random.key(0), IMAGE)
    assert jax.tree.structure(shapes["params"]) == jax.tree.structure(merged["params"])
    assert_close(jax.jit(features, static_argnums=0)(plain, merged), adapted, 1e-5)


@pytest.mark.fast
def test_the_published_number_of_trained_parameters():
  shapes = jax.eval_shape(
    lambda key: rein.Reins(rein.Rein(), 24, 1024, 16).init(key, jnp.float32), jax.random.key(0)
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_530_817


@pytest.mark.fast
@pytest.mark.parametrize("rank, channels", [(0, 8), (2, 4)])
def test_the_start_of_the_tokens_is_bounded(rank, channels):
  bound = (6 / (3 * 16**2 + channels)) ** 0.5
  variables = rein.Reins(rein.Rein(50, rank), 2, 8, 16).init(jax.random.key(0), jnp.float32)
  tokens = [value for key, value in variables["params"].items() if key.startswith("learnable")]
  assert len(tokens) == (2 if rank else 1)
  assert all(0.9 * bound < np.abs(value).max() <= bound for value in tokens)


@pytest.mark.fast
@pytest.mark.parametrize(
  "options, sentence",
  [
    ({"adapter": {"name": "lora"}, "encoder": "mit_b0"}, "^adapter = 'lora' is for plain Vision"),
    ({"adapter": {"name": "lorra"}}, r"^adapter\.name = 'lorra' is unknown. Did you mean 'lora'"),
    ({"adapter": {"rank": 4}}, r"^adapter\.name is missing. Known: lora, rein"),
    ({"adapter": {"name": "lora", "ranks": 4}}, r"^adapter.*ranks"),
    ({"freeze": "decoder"}, r"^freeze = 'decoder' is unknown"),
  ],
)
def test_a_wrong_adapter_is_refused(options, sentence):
  settings = {"encoder": "dinov3_vits16", "decoder": "light", "num_classes": 3, **options}
  with pytest.raises(SettingError, match=sentence):
    models.build(**settings)


@pytest.mark.fast
def test_targets_that_are_no_layers_are_refused():
  model = build({"name": "lora", "targets": ["attn.qkv", "attn.query"]})
  with pytest.raises(
    ValueError, match="targets attn.query are no linear layers.*attn.proj, attn.qkv"
  ):
    jax.eval_shape(functools.partial(model.init, **MODE), jax.random.key(0), IMAGE)
  model = build({"name": "lora", "targets": ["mlp.fc1"]})
  shapes = jax.eval_shape(functools.partial(model.init, **MODE), jax.random.key(0), IMAGE)
  block = shapes["params"]["encoder"]["blocks_1"]
  assert "lora_a" in block["mlp"]["fc1"] and "lora_a" not in block["attn"]["qkv"]
