"""Weights of public checkpoints."""

from jax_uda.models.weights.torch_names import from_torch as from_torch
from jax_uda.models.weights.torch_names import to_torch as to_torch
from jax_uda.models.weights.torch_names import torch_name as torch_name
