"""What survives a step beside the networks: state pytrees with pure updates; no flax, no config."""

from jax_uda.memory import class_statistics as class_statistics
from jax_uda.memory import ring_bank as ring_bank
from jax_uda.memory.class_means import ClassMeans as ClassMeans
from jax_uda.memory.class_means import class_means as class_means
