"""Reads, loads and writes weight files of public checkpoints."""

from jax_uda.models.weights._load import ADAPTER as ADAPTER
from jax_uda.models.weights._load import Loaded as Loaded
from jax_uda.models.weights._load import load as load
from jax_uda.models.weights._load import load_translation as load_translation
from jax_uda.models.weights._load import save as save
from jax_uda.models.weights._read import WeightFile as WeightFile
from jax_uda.models.weights._read import find as find
from jax_uda.models.weights._read import read as read
from jax_uda.models.weights.names import to_reference as to_reference
from jax_uda.models.weights.torch_names import from_torch as from_torch
from jax_uda.models.weights.torch_names import to_torch as to_torch
from jax_uda.models.weights.torch_names import torch_name as torch_name
