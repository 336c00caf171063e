"""Weights that not everybody gets are named together with those that everybody does."""

import pytest

from jax_uda.models import catalog
from jax_uda.models.weights import _convert, known

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("encoder", ["dinov3_vits16", "dinov3_vitl16_sat", "eupe_vitt16"])
def test_a_gated_file_that_is_missing_names_what_is_free(encoder, tmp_path):
  with pytest.raises(ValueError, match="no such weight file.*lingbot_vits16.*Apache-2.0") as error:
    _convert.convert(tmp_path / "refused.pth", tmp_path, encoder=encoder)
  free = [name for name in catalog.ENCODERS if f"{name}," in str(error.value)]
  assert all(known.licence_of_encoder(name) == "Apache-2.0" for name in free) and len(free) >= 4


def test_a_free_file_that_is_missing_is_only_missing(tmp_path):
  with pytest.raises(ValueError, match="not downloaded for you$"):
    _convert.convert(tmp_path / "w.pth", tmp_path, encoder="dinov2_vits14")


def test_every_plain_vit_has_a_licence():
  vits = [name for name in catalog.ENCODERS if "_vit" in name]
  assert len(vits) >= 15 and all(known.licence_of_encoder(name) for name in vits)
  assert not known.licence_of_encoder("compact")
