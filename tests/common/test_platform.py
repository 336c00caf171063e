"""Layers choose by the devices of the mesh that is traced for, not by those of this machine."""

import types

import jax
import numpy as np
import pytest

from jax_uda.common import platform
from jax_uda.models.layers import block_stack

pytestmark = pytest.mark.fast


def mesh_of(kind):
  return types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform=kind)]))


def test_the_platform_is_that_of_the_mesh_inside_and_of_jax_outside():
  outside = jax.default_backend()
  with platform.traced_for(mesh_of("tpu")):
    assert platform.name() == "tpu"
    with platform.traced_for(mesh_of("gpu")):
      assert platform.name() == "gpu"
    assert platform.name() == "tpu"
  assert platform.name() == outside


@pytest.mark.parametrize(
  "kind, setting, loops",
  [("cpu", "auto", False), ("gpu", "auto", True), ("tpu", "auto", True), ("tpu", False, False)],
)
def test_blocks_run_as_a_loop_where_compilers_are_slow(kind, setting, loops):
  with platform.traced_for(mesh_of(kind)):
    assert block_stack.scans(setting) is loops


def test_an_unknown_setting_is_a_sentence():
  with pytest.raises(
    ValueError, match="scan_blocks = 'yes' is unknown; choose True, False or 'auto'"
  ):
    block_stack.scans("yes")
