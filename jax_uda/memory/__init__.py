"""What survives a step beside the networks: state pytrees with pure updates; no flax, no config."""

from jax_uda.memory import class_statistics as class_statistics
from jax_uda.memory import ring_bank as ring_bank
from jax_uda.memory.class_means import ClassMeans as ClassMeans
from jax_uda.memory.class_means import class_means as class_means
from jax_uda.memory.class_statistics import ClassStatistics as ClassStatistics
from jax_uda.memory.class_statistics import empty_class_statistics as empty_class_statistics
from jax_uda.memory.ring_bank import RingBank as RingBank
from jax_uda.memory.ring_bank import empty_ring_bank as empty_ring_bank
