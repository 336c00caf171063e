"""Networks: encoders, decoders, heads, and their assembly by name."""

from jax_uda.models.catalog import build as build
from jax_uda.models.protocols import Decoder as Decoder
from jax_uda.models.protocols import Encoder as Encoder
from jax_uda.models.protocols import Head as Head
from jax_uda.models.segmentor import Segmentor as Segmentor
