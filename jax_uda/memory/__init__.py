"""What survives a step beside the networks: state pytrees with pure updates; no flax, no config.

Each module has one kind of state: `memory.ring_bank.push(bank, ...)`, `memory.prototypes.update(...)`.
"""

from jax_uda.memory import cam_prototypes, class_statistics, prototypes, region_queue, ring_bank
from jax_uda.memory.cam_prototypes import CamPrototypes, empty_cam_prototypes
from jax_uda.memory.class_statistics import ClassStatistics, empty_class_statistics
from jax_uda.memory.means import ClassMeans, class_means
from jax_uda.memory.prototypes import PrototypeSums, empty_prototype_sums
from jax_uda.memory.region_queue import RegionQueue, empty_region_queue
from jax_uda.memory.ring_bank import RingBank, empty_ring_bank

__all__ = [
  # One representation per class, over everything seen or as a moving average.
  "ClassMeans",
  "ClassStatistics",
  "class_means",
  "class_statistics",
  "empty_class_statistics",
  "PrototypeSums",
  "empty_prototype_sums",
  "prototypes",
  "CamPrototypes",
  "cam_prototypes",
  "empty_cam_prototypes",
  # The last entries, per class or per step.
  "RingBank",
  "empty_ring_bank",
  "ring_bank",
  "RegionQueue",
  "empty_region_queue",
  "region_queue",
]
