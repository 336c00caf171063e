"""Networks of unpaired image translation (CUT, Park et al., 2020), which CONFETI and CONFETII train too."""

from jax_uda.models.translation.discriminator import PatchDiscriminator as PatchDiscriminator
from jax_uda.models.translation.generator import Generator as Generator
from jax_uda.models.translation.one_stage import PatchProjection as PatchProjection
from jax_uda.models.translation.one_stage import SplitGenerator as SplitGenerator
from jax_uda.models.translation.one_stage import draw_rows as draw_rows
from jax_uda.models.translation.patch_mlp import PatchMLP as PatchMLP
from jax_uda.models.translation.patch_mlp import draw_positions as draw_positions
