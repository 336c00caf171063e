"""A model, a method and an optimizer that learn together: what a notebook holds.

learner = Learner(model, method, schedule=optimizer.warmup_poly(learning_rate=6e-5, num_steps=40_000))
state = learner.init(seed=0, image_size=(512, 512))
state, metrics = learner.step(state, batch)
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import platform
from jax_uda.ops.resize import size_of
from jax_uda.step import nonfinite, optimizer, sharding, state, train_step
from jax_uda.step.context import Context, Passes, View
from jax_uda.step.inference import Inference, Prediction, Size
from jax_uda.step.method import Batch, Method, with_unit_images
from jax_uda.step.objective import add_terms
from jax_uda.step.outputs import Network
from jax_uda.step.predictor import NetworkPrograms, Predictor
from jax_uda.step.shared import FOUNDATION, sharing
from jax_uda.step.state import TrainState
from jax_uda.step.teacher import Rule
from jax_uda.step.train_step import Metrics

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Seen(NamedTuple):
  """What a step looks at, as NumPy arrays for pictures.

  Attributes:
    batch: The batch; source images as the auxiliary networks prepared them.
    views: The method's views by name, in the order in which they are made.
    crops: By view, [B,4] int32 boxes (y1, y2, x1, x2) of HRDA's detail; empty on other networks.
  """

  batch: Batch
  views: dict[str, View]
  crops: dict[str, np.ndarray]


class Learner:
  """Everything that a training step needs but its state; it reads no config.

  Attributes:
    model: The segmentor, with the method's heads.
    method: The UDA method.
    schedule: Learning rate as a function of the step.
    optimizer: The optimizer of the student's parameters.
    auxiliary: The method's auxiliary networks, or None.
    foundation: The method's foundation model, or None.
    teacher_rule: How the teacher follows the student.
    mesh: Devices that share a batch.
    by_groups: Whether a step takes its gradient group by group of terms.
  """

  def __init__(
    self,
    model: Network,
    method: Method,
    *,
    schedule: optax.Schedule,
    optimizer: Callable[..., optax.GradientTransformation] = optimizer.build,
    teacher_rule: Rule = Rule(),
    mesh: Mesh | None = None,
    skip_nonfinite: bool = False,
    by_groups: bool = False,
  ):
    """Puts the parts together; nothing is compiled or allocated.

    Args:
      model: A segmentor; it gets the heads that `method` needs.
      method: The UDA method.
      schedule: Learning rate as a function of the step.
      optimizer: `(schedule, start_steps=…) -> optax optimizer`; the default is AdamW.
      teacher_rule: How the teacher follows the student.
      mesh: Devices that share a batch; all, if not given.
      skip_nonfinite: Whether a step whose loss is not finite leaves the networks as they were; the
        metric `skipped` says so.
      by_groups: Whether a step takes its gradient group by group of terms that share passes: less memory,
        the same gradient up to rounding.
    """
    self._skips = skip_nonfinite
    dtype = getattr(model, "dtype", jnp.float32)
    heads = {name: head(dtype=dtype) for name, head in method.heads.items()}
    self.model = model.clone(heads=flax.core.FrozenDict(heads)) if heads else model
    self.foundation = method.foundation.build(dtype=dtype) if method.foundation else None
    self.method, self.schedule, self.teacher_rule = method, schedule, teacher_rule
    self.by_groups = by_groups
    self.optimizer = optimizer(schedule, start_steps=method.start_steps)
    self.auxiliary = method.auxiliary(schedule) if method.auxiliary else None
    self.mesh = mesh_lib.data_mesh() if mesh is None else mesh
    self._step_of = functools.cache(self._jitted_step)
    self._create = functools.cache(self._jitted_create)
    self.predictor = functools.cache(self._make_predictor)
    self._programs: dict[Any, NetworkPrograms] = {}

  def init(self, seed: int, image_size: tuple[int, int]) -> TrainState:
    """The state before step 0, with random parameters, on the devices.

    Args:
      seed: Root of all randomness of the run.
      image_size: Any (height, width) that the model accepts; parameters do not depend on it.
    """
    return self._create(seed, tuple(image_size))()

  def abstract_state(self, image_size: tuple[int, int], seed: int = 0) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is compiled.

    They do not depend on the arguments; `init` with the same ones does not trace the network again.
    """
    state = self._create(seed, tuple(image_size)).eval_shape()
    place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    return jax.tree.map(place, state, sharding.of_state(self.mesh, state))

  def placed(self, state: TrainState) -> TrainState:
    """The state with each array on the devices that steps expect it on."""
    return jax.device_put(state, sharding.of_state(self.mesh, state))

  def from_variables(
    self, variables: dict[str, Any], seed: int, *, foundation: dict[str, Any] | None = None
  ) -> TrainState:
    """The state before step 0 that starts from `variables` of the model.

    Args:
      variables: Those of the model.
      seed: Root of all randomness of the run.
      foundation: Those of the method's foundation model, if it has one.
    """
    key = jax.random.key(seed)
    return state.from_variables(
      variables,
      self.method,
      self.optimizer,
      key,
      self.auxiliary,
      freeze=self.freeze,
      foundation={FOUNDATION: foundation} if foundation else None,
    )

  @property
  def freeze(self) -> str:
    """The part of the network whose variables all networks share, see `Segmentor`; usually empty."""
    return getattr(self.model, "freeze", "")

  def _jitted_create(self, seed: int, image_size: tuple[int, int]) -> Any:
    def create() -> TrainState:
      initial = state.create(
        self.model,
        self.method,
        self.optimizer,
        image_size=image_size,
        seed=seed,
        auxiliary=self.auxiliary,
        foundation=self.foundation,
      )
      return sharding.constrain(self.mesh, initial)

    return jax.jit(create)

  def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One training step; it consumes `state`, whose buffers are reused.

    Args:
      state: The state before the step.
      batch: This process's rows: uint8 images `batch["source"]["image"]` and
        `batch["target"]["image"]` [B,H,W,3], labels `batch["source"]["label"]` [B,H,W].

    Returns:
      The next state; float32 scalars by name.
    """
    phases = self.method.phases
    # To look at the step's number means to wait for the step before.
    phase = self.method.phase(int(state.step)) if len(phases) > 1 else 0
    return self.step_of(phase)(state, mesh_lib.put_batch(self.mesh, batch))

  def step_of(self, phase: int) -> Any:
    """The jitted step of a phase of the method, for batches on the devices; it donates the state.

    Args:
      phase: First step of the phase, `method.phase(step)`.
    """
    return self._step_of(phase)

  def _jitted_step(self, phase: int) -> Any:
    step = self.pure_step(phase)
    step = nonfinite.skipping(step) if self._skips else step

    def train_step_on_mesh(*args: Any) -> tuple[TrainState, Metrics]:
      with platform.traced_for(self.mesh):
        state, metrics = step(*args)
      whole = mesh_lib.replicated(self.mesh)
      return sharding.constrain(self.mesh, state), jax.lax.with_sharding_constraint(metrics, whole)

    return jax.jit(train_step_on_mesh, donate_argnums=0)

  def pure_step(self, phase: int = 0) -> Step:
    """The step of a phase as a pure function, not compiled."""
    return train_step.make_train_step(
      self.model,
      self.method,
      self.optimizer,
      teacher_rule=self.teacher_rule,
      auxiliary=self.auxiliary,
      foundation=self.foundation,
      phase=phase,
      by_groups=self.by_groups,
    )

  def predict(
    self,
    variables: Any,
    images: np.ndarray,
    settings: Inference = Inference(),
    *,
    size: Size | None = None,
  ) -> Prediction:
    """Labels and confidences of whole images.

    Args:
      variables: Those of a network, `state.variables("student")` or `state.variables("teacher")`.
      images: [B,H,W,3] uint8.
      settings: Windows, scales and mirror images that are averaged.
      size: (height, width) of the prediction; that of the images if not given.
    """
    return self.predictor(settings)(variables, images, size or size_of(images))

  def _make_predictor(self, settings: Inference) -> Predictor:
    programs = NetworkPrograms(self.model, self.mesh, settings)
    return Predictor(self._programs.setdefault(programs.key(settings), programs), settings)

  def canvas(self, variables: Any, size: Size, rows: int = 1) -> Size:
    """The size to which an image of `size` is padded, so that the network takes it; often its own.

    Args:
      variables: Those of a network, or their shapes.
      size: (height, width) of the image.
      rows: Images in a batch.
    """
    return self.predictor(Inference()).network.canvas(variables, size, rows)

  def views_of(self, state: TrainState, batch: Batch) -> Seen:
    """What a step from `state` would look at, with the teacher as it is, for pictures.

    Args:
      state: The state; it is not consumed.
      batch: Rows that every process has, as for `step`.
    """
    phase = self.method.phase(int(state.step))
    # Terms ask for the passes that draw detail crops (HRDA). Other networks draw none, and terms need not
    # fit a batch of a few pictures: they may split it into groups, or draw many of its rows.
    has_crops = hasattr(self.model, "crop_size")
    method = self.method if has_crops else self.method._replace(terms={})
    order: list[str] = []  # jit returns dictionaries sorted by name

    @jax.jit
    def look(state: TrainState, batch: Batch):
      key = jax.random.fold_in(state.key, state.step)
      params = state.auxiliary and state.auxiliary["params"]
      teacher = Passes(
        train_step.teacher_network(
          sharing(self.model, state.reference), self.method.teacher_outputs
        ),
        state.teacher,
      )
      scene = train_step.set_scene(
        method, self.auxiliary, params, with_unit_images(batch), teacher, key
      )
      order.extend(scene.views)
      crops = self._crops(state, scene, teacher, key, phase) if has_crops else {}
      return scene.batch, scene.views, crops

    batch, views, crops = jax.device_get(look(state, batch))
    return Seen(batch, {name: views[name] for name in order}, crops)

  def _crops(self, state, scene, teacher: Passes, key, phase: int) -> dict[str, jax.Array]:
    """HRDA's detail crops of the student's passes, with the teacher's variables."""
    crops = {}
    model = sharing(self.model, state.reference)
    network = train_step.student_network(model, key, self.method.passes(phase))

    def student(variables, image, name, **inputs):
      outputs, statistics = network(variables, image, name, **inputs)
      if "hr_box" in outputs.heads:
        crops[name] = outputs.heads["hr_box"]
      return outputs, statistics

    reference = train_step.reference_network(self.model, state.reference)
    context = Context(
      views=scene.views,
      step=state.step,
      student=Passes(student, state.teacher),
      teacher=teacher,
      reference=reference if self.method.uses_reference else None,
      foundation=train_step.foundation_network(self.foundation, state.reference),
      auxiliary=state.auxiliary and state.auxiliary["params"],
      phase=phase,
    )
    add_terms(self.method.terms, state.objective_state, context, scene.draws)  # asks for the passes
    return crops
