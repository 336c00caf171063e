"""Data sets, their preparation, and the batches of a training step.

In a notebook:

  domains = data.load_domains(dict(name="gta5", path="/data/gta5"), dict(name="cityscapes", path="/data/cs"))
  for batch in data.batches(domains.source_train, domains.target_train, batch_size=2, crop_size=(512, 512), seed=0):
    …

Names are imported when they are first used: the processes that draw scenes import `jax_uda.data.streets`
and must stay free of JAX.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jax_uda.data.datasets.catalog import Domains as Domains
  from jax_uda.data.datasets.catalog import load_domains as load_domains
  from jax_uda.data.datasets.catalog import load_evaluation as load_evaluation
  from jax_uda.data.datasets.from_layout import DataSet as DataSet
  from jax_uda.data.datasets.layouts import Labels as Labels
  from jax_uda.data.datasets.layouts import Layout as Layout
  from jax_uda.data.datasets.layouts import Part as Part
  from jax_uda.data.label_spaces import LabelSpace as LabelSpace
  from jax_uda.data.pipeline.batches import BatchSettings as BatchSettings
  from jax_uda.data.pipeline.batches import batches as batches
  from jax_uda.data.pipeline.batches import evaluation_batches as evaluation_batches
  from jax_uda.data.pipeline.batches import training_batches as training_batches
  from jax_uda.data.pipeline.examples import LabelledExample as LabelledExample
  from jax_uda.data.pipeline.examples import TargetExample as TargetExample
  from jax_uda.data.pipeline.rare_class import RareClassSampling as RareClassSampling
  from jax_uda.data.roles import Role as Role

_MODULES = {
  "datasets.catalog": ("Domains", "load_domains", "load_evaluation"),
  "datasets.from_layout": ("DataSet",),
  "datasets.layouts": ("Labels", "Layout", "Part"),
  "label_spaces": ("LabelSpace",),
  "pipeline.batches": ("BatchSettings", "batches", "evaluation_batches", "training_batches"),
  "pipeline.examples": ("LabelledExample", "TargetExample"),
  "pipeline.rare_class": ("RareClassSampling",),
  "roles": ("Role",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
  if name in _MODULE_OF:
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
  else:
    try:
      value = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
      if error.name != f"{__name__}.{name}":
        raise
      raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULE_OF})
