"""What survives a step beside the networks: state pytrees with pure updates; no flax, no config."""

from jax_uda.memory.class_means import ClassMeans as ClassMeans
from jax_uda.memory.class_means import class_means as class_means
