import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_cases import assert_close, golden

from jax_uda import models
from jax_uda.models import weights
from jax_uda.run import config
from jax_uda.step import optimizer

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/adamw"))
def test_adamw_matches_reference(case: golden_cases.Case):
  names = [f"p{i}" for i in range(len(case.lr_mult))]
  groups = [
    optimizer.Group(f"^{name}$", float(lr), float(decay))
    for name, lr, decay in zip(names, case.lr_mult, case.decay_mult, strict=True)
  ]
  rates = jnp.asarray(case.base_lr_per_step, jnp.float32)
  b1, b2 = map(float, case.betas)
  tx = optimizer.build(
    lambda step: rates[step], weight_decay=float(case.weight_decay), b1=b1, b2=b2, groups=groups
  )
  params = {name: jnp.asarray(case[f"{name}_init"], jnp.float32) for name in names}
  state = tx.init(params)
  update = jax.jit(tx.update)
  for step in range(len(rates)):
    grads = {name: jnp.asarray(case[f"{name}_grads"][step], jnp.float32) for name in names}
    updates, state = update(grads, state, params)
    params = optax.apply_updates(params, updates)
    for name in names:
      assert_close(params[name], case[f"{name}_after"][step], 1e-5)


@pytest.mark.parametrize("case", golden("base/lr_schedule", but_not=("base/lr_schedule_vfm",)))
def test_schedule_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    for column, base in enumerate(part.base_lr):
      schedule = optimizer.warmup_poly(
        learning_rate=float(base),
        num_steps=int(part.total_iters),
        warmup_steps=int(part.warmup_iters),
        warmup_ratio=float(part.warmup_ratio),
        power=float(part.power),
        end_value=float(part.min_lr),
      )
      assert_close(jax.vmap(schedule)(jnp.asarray(part.iters)), part.lr[:, column], 1e-6)


@pytest.mark.parametrize("case", golden("base/lr_schedule_vfm"))
def test_schedule_of_vfm_uda_matches_reference(case: golden_cases.Case):
  for column, base in enumerate(case.base_lr):
    schedule = optimizer.warmup_linear(
      learning_rate=float(base),
      num_steps=int(case.total_iters),
      warmup_steps=int(case.warmup_iters),
      warmup_ratio=float(case.start_factor),
    )
    assert_close(jax.vmap(schedule)(jnp.asarray(case.iters)), case.lr[:, column], 1e-6)


@pytest.mark.parametrize("case", golden("rccr/sgd_repeats"))
def test_repeated_updates_match_reference(case: golden_cases.Case):
  names = {f"r{count}": int(count) for count in case.repeats}
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=int(case.max_iters), power=float(case.power)
  )
  tx = optimizer.build(
    schedule,
    name="sgd",
    momentum=float(case.momentum),
    weight_decay=float(case.weight_decay),
    groups=[optimizer.Group(name, repeats=count) for name, count in names.items()],
  )
  params = dict.fromkeys(names, jnp.asarray(case.param0))
  state, update = tx.init(params), jax.jit(tx.update)
  for t, grad in enumerate(case.grad):
    updates, state = update(dict.fromkeys(names, jnp.asarray(grad)), state, params)
    params = optax.apply_updates(params, updates)
    for name, count in names.items():
      np.testing.assert_allclose(params[name], case[f"param_repeat{count}"][t], 1e-5, 1e-6)


def test_repeats_are_refused_for_adamw():
  with pytest.raises(ValueError, match="'sgd' only"):
    optimizer.build(lambda _: 0.1, groups=(optimizer.Group("w", repeats=3),))


def test_sgd_adds_the_decay_before_the_momentum():
  tx = optimizer.build(lambda _: 0.1, name="sgd", weight_decay=0.5, momentum=0.9)
  p, m = 2.0, 0.0
  params = {"w": jnp.float32(p)}
  state = tx.init(params)
  for grad in (1.0, -3.0, 0.5):
    updates, state = tx.update({"w": jnp.float32(grad)}, state, params)
    params = optax.apply_updates(params, updates)
    m = 0.9 * m + grad + 0.5 * p
    p -= 0.1 * m
    np.testing.assert_allclose(params["w"], p, rtol=1e-6)


def test_a_gated_parameter_is_untouched_before_its_start_and_then_starts_afresh():
  tx = optimizer.build(lambda _: 0.1, start_steps={"late": 3})
  plain = optimizer.build(lambda _: 0.1)
  params = {"late": jnp.ones(2), "early": jnp.ones(2)}
  state, late = tx.init(params), {"w": jnp.ones(2)}
  fresh = plain.init(late)
  for step in range(6):
    grads = {"late": jnp.array([1.0, -step]), "early": jnp.array([0.5, step])}
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    if step < 3:
      np.testing.assert_array_equal(params["late"], np.ones(2))
    else:
      updates, fresh = plain.update({"w": grads["late"]}, fresh, late)
      late = optax.apply_updates(late, updates)
      np.testing.assert_allclose(params["late"], late["w"], rtol=1e-6)
  assert (params["early"] != 1).all()


def test_of_several_groups_the_first_match_counts():
  groups = (optimizer.Group("^decoder/", 10.0), optimizer.Group("norm", 1.0, 0.0))
  assert optimizer.group_of("decoder/norm/scale", groups) is groups[0]
  assert optimizer.group_of("encoder/norm/scale", groups) is groups[1]
  assert optimizer.group_of("encoder/conv/kernel", groups) == optimizer.Group("")


def test_a_group_that_matches_nothing_is_an_error_that_names_it():
  with pytest.raises(ValueError, match=r"'\^hed/' matches none"):
    optimizer.check_groups({"head": {"kernel": jnp.zeros(1)}}, (optimizer.Group("^hed/"),))


def test_an_unknown_optimizer_is_an_error_with_a_suggestion():
  with pytest.raises(ValueError, match="Did you mean 'adamw'"):
    optimizer.build(lambda _: 0.1, name="adam")


@pytest.mark.parametrize("case", golden("base/param_groups"))
def test_default_groups_of_daformer_match_reference(case: dict):
  model = models.build(encoder="mit_b0", decoder="daformer", num_classes=19)
  init = lambda key: model.init(
    key, jnp.zeros((1, 64, 64, 3)), train=False, use_running_average=True
  )
  params = jax.eval_shape(init, jax.random.key(0))["params"]
  groups = [optimizer.Group(**group) for group in config.default().optimizer.groups]
  found = {}
  for path, _ in jax.tree.leaves_with_path(params):
    group = optimizer.group_of(optimizer.path_name(path), groups)
    name = weights.torch_name(("params", *(key.key for key in path)))
    found["model." + name] = (group.learning_rate, group.weight_decay)
  assert found == {name: (lr, decay) for name, lr, decay in case["rows"]}


@pytest.mark.parametrize("case", golden("sepico/delayed_adamw"))
def test_a_delayed_start_matches_reference(case: golden_cases.Case):
  start = int(np.argmax(case.has_grad)) if case.has_grad.any() else len(case.grad)
  tx = optimizer.build(
    lambda step: jnp.asarray(case.lr, jnp.float32)[step],
    weight_decay=float(case.weight_decay),
    start_steps={"head": start},
    b1=float(case.b1),
    b2=float(case.b2),
    eps=float(case.eps),
  )
  params = {"head": jnp.asarray(case.p0)}
  state = tx.init(params)
  step = jax.jit(lambda grad, state, params: tx.update({"head": grad}, state, params))
  for t, has_grad in enumerate(case.has_grad):
    updates, state = step(jnp.asarray(case.grad[t]) * has_grad, state, params)
    params = {"head": params["head"] + updates["head"]}
    np.testing.assert_allclose(params["head"], case.p[t], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", golden("spcl/lr_poly"))
def test_the_poly_schedule_matches_reference(case: golden_cases.Case):
  schedule = optimizer.warmup_poly(
    learning_rate=float(case.base_lr), num_steps=int(case.max_iters), power=float(case.power)
  )
  assert_close(jax.vmap(schedule)(jnp.asarray(case.iters)), case.lr, 1e-6)
