"""Data sets, their preparation, and the batches of a training step.

In a notebook:

  domains = data.load_domains(dict(name="gta5", path="/data/gta5"), dict(name="cityscapes", path="/data/cs"))
  for batch in data.batches(domains.source_train, domains.target_train, batch_size=2, crop_size=(512, 512), seed=0):
    …

Names are imported when they are first used: the processes that draw scenes import `jax_uda.data.streets`
and must stay free of JAX.
"""

from etils import epy as _epy

with _epy.lazy_api_imports(globals()):
  from jax_uda.data import label_spaces, streets
  from jax_uda.data.datasets.catalog import Domains, load_domains, load_evaluation
  from jax_uda.data.datasets.from_layout import DataSet
  from jax_uda.data.datasets.layouts import Labels, Layout, Part
  from jax_uda.data.label_spaces import LabelSpace
  from jax_uda.data.pipeline.batching import (
    BatchSettings,
    batches,
    evaluation_batches,
    training_batches,
  )
  from jax_uda.data.pipeline.examples import LabelledExample, TargetExample
  from jax_uda.data.pipeline.rare_class import RareClassSampling
  from jax_uda.data.roles import Role

__all__ = [
  # Data sets.
  "DataSet",
  "Labels",
  "LabelSpace",
  "Layout",
  "Part",
  "label_spaces",
  "streets",
  # The domains of a run.
  "Domains",
  "Role",
  "load_domains",
  "load_evaluation",
  # Batches.
  "BatchSettings",
  "LabelledExample",
  "RareClassSampling",
  "TargetExample",
  "batches",
  "evaluation_batches",
  "training_batches",
]
