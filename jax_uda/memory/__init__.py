"""What survives a step beside the networks: state pytrees with pure updates; no flax, no config.

Each module has one kind of state: `memory.ring_bank.push(bank, ...)`, `memory.prototypes.update(...)`.
"""

from jax_uda.memory import cam_prototypes as cam_prototypes
from jax_uda.memory import class_statistics as class_statistics
from jax_uda.memory import prototypes as prototypes
from jax_uda.memory import region_queue as region_queue
from jax_uda.memory import ring_bank as ring_bank
from jax_uda.memory.cam_prototypes import CamPrototypes as CamPrototypes
from jax_uda.memory.cam_prototypes import empty_cam_prototypes as empty_cam_prototypes
from jax_uda.memory.class_statistics import ClassStatistics as ClassStatistics
from jax_uda.memory.class_statistics import empty_class_statistics as empty_class_statistics
from jax_uda.memory.means import ClassMeans as ClassMeans
from jax_uda.memory.means import class_means as class_means
from jax_uda.memory.prototypes import PrototypeSums as PrototypeSums
from jax_uda.memory.prototypes import empty_prototype_sums as empty_prototype_sums
from jax_uda.memory.region_queue import RegionQueue as RegionQueue
from jax_uda.memory.region_queue import empty_region_queue as empty_region_queue
from jax_uda.memory.ring_bank import RingBank as RingBank
from jax_uda.memory.ring_bank import empty_ring_bank as empty_ring_bank
