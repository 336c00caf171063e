"""Weights that not everybody gets are named together with those that everybody does."""

import dataclasses
import pathlib

import pytest

from jax_uda.models import catalog, weights
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


@pytest.mark.parametrize(
  "file, licence",
  [
    ("dinov2_vitb14_reg4_pretrain.pth", "Apache-2.0"),
    ("dinov2_vitb14_pretrain.pth", "Apache-2.0"),
    ("dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth", "DINOv3 License"),
    ("vit_base_patch16_dinov3.lvd1689m.safetensors", "DINOv3 License"),
    ("vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m.safetensors", "FAIR Noncommercial"),
    ("vit_small_patch16_lingbot.safetensors", "Apache-2.0"),
  ],
)
def test_the_name_of_a_file_says_its_licence(file, licence):
  assert known.licence_of(pathlib.Path("weights") / file).startswith(licence)


def test_a_file_without_a_licence_has_that_of_the_encoder_if_it_holds_it():
  whole = weights.Loaded("a.pth", "", "student", ("encoder", "decoder"), ())
  assert whole.with_licence_of("dinov3_vits16").licence.startswith("DINOv3 License")
  assert whole.with_licence_of("compact").licence == ""
  assert dataclasses.replace(whole, licence="MIT").with_licence_of("mit_b0").licence == "MIT"
  assert dataclasses.replace(whole, parts=("decoder",)).with_licence_of("mit_b0").licence == ""


def test_the_usual_file_of_an_encoder_is_named():
  assert "dinov2_vitb14_reg4_pretrain.pth" in known.file_for("dinov2_vitb14_reg")
  assert "dinov2_vitb14_pretrain.pth" in known.file_for("dinov2_vitb14")
  assert "on request" in known.file_for("dinov3_vits16")
