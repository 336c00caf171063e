"""A model, a method and how they are trained: what a notebook holds."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.step import inference as inference_lib
from jax_uda.step import optimizer as optimizer_lib
from jax_uda.step import state as state_lib
from jax_uda.step import train_step
from jax_uda.step.context import Context, Passes, View, named_key
from jax_uda.step.inference import Inference, Prediction, Size
from jax_uda.step.method import Method, with_unit_images
from jax_uda.step.state import TrainState
from jax_uda.step.teacher import Rule


class Seen(NamedTuple):
  """What a step looks at."""

  batch: Any
  views: dict[str, View]
  crops: dict[str, np.ndarray]


class Learner:
  """One method on one network; keeps the compiled steps of its phases."""

  def __init__(
    self,
    model: Any,
    method: Method,
    *,
    schedule: optax.Schedule,
    optimizer: Callable[..., optax.GradientTransformation] = optimizer_lib.build,
    teacher_rule: Rule = Rule(),
    mesh: Mesh | None = None,
  ):
    heads = {name: head(dtype=model.decoder.dtype) for name, head in method.heads.items()}
    self.model = model.clone(heads=flax.core.FrozenDict(heads)) if heads else model
    self.method = method
    self.schedule = schedule
    self.optimizer = optimizer(schedule, start_steps=method.start_steps)
    self.auxiliary = method.player(schedule) if method.player else None
    self.teacher_rule = teacher_rule
    self.mesh = mesh_lib.data_mesh() if mesh is None else mesh
    self._steps: dict[int, Callable] = {}
    self._creates: dict[Size, Callable] = {}
    self._predicts: dict[Inference, inference_lib.Predict] = {}

  def _create(self, image_size: Size):
    if image_size not in self._creates:
      create = lambda seed: state_lib.create(
        self.model,
        self.method,
        self.optimizer,
        image_size=image_size,
        seed=seed,
        player=self.auxiliary,
      )
      self._creates[image_size] = jax.jit(
        create, out_shardings=mesh_lib.replicated(self.mesh), static_argnums=0
      )
    return self._creates[image_size]

  def init(self, seed: int, image_size: Size) -> TrainState:
    return self._create(tuple(image_size))(seed)

  def abstract_state(self, image_size: Size) -> TrainState:
    sharding = mesh_lib.replicated(self.mesh)
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return jax.tree.map(place, self._create(tuple(image_size)).eval_shape(0))

  def step_of(self, phase: int) -> Callable:
    if phase not in self._steps:
      replicated = mesh_lib.replicated(self.mesh)
      step = train_step.make_train_step(
        self.model,
        self.method,
        self.optimizer,
        teacher_rule=self.teacher_rule,
        player=self.auxiliary,
        phase_start=phase,
      )
      self._steps[phase] = jax.jit(step, donate_argnums=0, out_shardings=(replicated, replicated))
    return self._steps[phase]

  def step(self, state: TrainState, batch: Any):
    return self.step_of(self.method.phase(int(state.step)))(state, batch)

  def predict(
    self,
    variables: Mapping[str, Any],
    images: np.ndarray,
    settings: Inference = Inference(),
    *,
    size: Size | None = None,
  ) -> Prediction:
    if settings not in self._predicts:
      self._predicts[settings] = inference_lib.make_predict(self.model, self.mesh, settings)
    return self._predicts[settings](variables, images, size or images.shape[1:3])

  def views_of(self, state: TrainState, batch: Any) -> Seen:
    phase = self.method.phase(int(state.step))
    order = []  # of the views: what jit returns is sorted by name

    @jax.jit
    def look(state: TrainState, batch: Any):
      key = jax.random.fold_in(state.key, state.step)
      batch = with_unit_images(batch)
      teacher = Passes(
        train_step.teacher_pass(self.model, self.method.teacher_parts), state.teacher
      )
      params = state.auxiliary["params"] if self.auxiliary else None
      prepared = self.auxiliary.prepare(params, batch) if self.auxiliary else batch
      draws = self.method.draw(named_key(key, "draws"), batch)
      views = self.method.views(draws, prepared, teacher)
      crops = {}
      if "hrda" in type(self.model).__module__:
        crops = self._detail_crops(state, views, draws, key, phase)
      order.extend(views)
      return prepared, views, crops

    batch, views, crops = jax.device_get(look(state, batch))
    return Seen(batch, {name: views[name] for name in order}, crops)

  def _detail_crops(self, state, views, draws, key, phase_start) -> dict[str, jax.Array]:
    boxes = {}
    run = train_step.student_pass(self.model, key, self.method.calls(phase_start))

    def apply(variables, image, name, **inputs):
      outputs, statistics = run(variables, image, name, **inputs)
      if "hr_box" in outputs.heads:
        boxes[name] = outputs.heads["hr_box"]
      return outputs, statistics

    reference = lambda image: self.model.apply(
      state.reference, image, train=False, use_running_average=True, method="encode"
    )
    context = Context(
      views=views,
      step=state.step,
      key=named_key(key, "objectives"),
      draws=draws,
      student=Passes(apply, state.teacher),
      teacher=Passes(train_step.teacher_pass(self.model, self.method.teacher_parts), state.teacher),
      reference=reference if self.method.uses_reference else None,
      player=state.auxiliary["params"] if self.auxiliary else None,
      phase_start=phase_start,
    )
    self.method.objective.apply(state.objective_state, context)
    return boxes
