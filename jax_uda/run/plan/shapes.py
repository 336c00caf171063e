"""A run from shapes alone: its learner, and a batch without data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.data import label_spaces
from jax_uda.data.datasets import catalog
from jax_uda.data.datasets.from_layout import DataSet
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.rescale import Size
from jax_uda.data.roles import Role
from jax_uda.run import experiment, settings
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.settings import RunSettings
from jax_uda.step.learner import Learner
from jax_uda.step.state import TrainState

# (height, width) of the files of data sets whose images training takes whole; others are taken to fill
# the size into which the recipe fits them.
FILES = {
  "cityscapes": (1024, 2048),
  "acdc": (1080, 1920),
  "dark_zurich": (1080, 1920),
  "gta5": (1052, 1914),
  "synthia": (760, 1280),
}


class Shapes(NamedTuple):
  """What a step takes.

  Attributes:
    learner: What learns, on the mesh that is planned for.
    settings: The run's settings.
    state: Shapes, dtypes and shardings of the train state.
    batch: The same of a batch.
  """

  learner: Learner
  settings: RunSettings
  state: TrainState
  batch: dict[str, dict[str, jax.ShapeDtypeStruct]]


def of_config(config: ConfigDict, mesh: Mesh) -> Shapes:
  """The shapes of a run; no file of a data set is opened.

  Args:
    config: The config of one run or of one stage.
    mesh: The devices, which need not be there.

  Raises:
    SettingError: A field does not fit, or the batch cannot be split over the devices.
  """
  with registry.within("config"):
    run_settings = settings.from_config(config)
    mesh_lib.check_batch_size(run_settings.batch_size, mesh)
    num_classes = _num_classes(config)
    learner = experiment.build_learner(config, (1 / num_classes,) * num_classes, mesh)
    batch = _batch(config, run_settings, mesh)
  state = learner.abstract_state(run_settings.data.batches.crop_size, run_settings.seed)
  return Shapes(learner, run_settings, state, batch)


def _num_classes(config: ConfigDict) -> int:
  """The number of classes of the source's data set, whose folder need not be there."""
  spec: dict[str, Any] = config.data.source.to_dict()
  data_set = catalog.BUILDERS.get(spec.get("name", ""))
  with registry.within("data", "source"):
    if isinstance(data_set, DataSet):
      classes = spec.get("classes")
      if not classes:
        return data_set.layout.label_space.num_classes
      return registry.lookup(label_spaces.KNOWN, classes, ("classes",)).num_classes
    data_dir = paths.as_path(config.data.dir, "dir")
    return catalog.find_builder(spec, data_dir, Role.SOURCE).label_space.num_classes


def _whole_size(spec: dict[str, Any], crop: Size) -> Size:
  """The size of target images that come whole."""
  bound = tuple(spec.get("size") or ())
  files = FILES.get(spec.get("name", ""))
  if files and bound:
    return rescale.keep_ratio_size(files, (bound[0], bound[1]))
  height, width = files or bound or crop
  return height, width


def _batch(
  config: ConfigDict, run_settings: RunSettings, mesh: Mesh
) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
  batches = run_settings.data.batches
  spec = config.data.target.to_dict()
  crop = batches.crop_size
  target = crop if batches.crop_target else _whole_size(spec, crop)
  sharding = mesh_lib.split_batch(mesh)
  pixels = lambda *sides: jax.ShapeDtypeStruct(
    (batches.batch_size, *sides), jnp.uint8, sharding=sharding
  )
  fields = {"image": pixels(*target, 3)}
  if spec.get("day_images"):
    fields["day_image"] = pixels(*target, 3)
  if run_settings.data.pseudo_labels:
    fields["label"] = pixels(*target)
  if batches.target_margins:
    fields["valid"] = pixels(*target)
  return {"source": {"image": pixels(*crop, 3), "label": pixels(*crop)}, "target": fields}
