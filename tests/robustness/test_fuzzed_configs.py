"""Fields and config files of any content end in a config or in one sentence."""

import pathlib
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robustness.table import check_sentence

from jax_uda.common.registry import SettingError
from jax_uda.common.state_files import DamagedFileError
from jax_uda.run import recipes, record
from jax_uda.run.config_dict import ConfigDict

pytestmark = pytest.mark.fast
FIELDS = (
  "seed",
  "data.crop_size",
  "model.encoder_options.remat",
  "optimizer.groups",
  "stages.x.y",
  "eval.scales",
)
fuzz = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@fuzz
@given(field=st.one_of(st.sampled_from(FIELDS), st.text(max_size=20)), text=st.text(max_size=30))
def test_any_field_with_any_text_is_a_config_or_a_sentence(field, text):
  try:
    assert isinstance(recipes.load("demo", [(field, text)]), ConfigDict)
  except SettingError as error:
    assert str(error).strip() and "Traceback" not in str(error)


@fuzz
@given(
  content=st.one_of(
    st.binary(max_size=60), st.text(alphabet='{}[]",:0123e-', max_size=40).map(str.encode)
  )
)
def test_any_config_file_is_a_config_or_a_sentence(content):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder)
    (path / "config.json").write_bytes(content)
    try:
      assert isinstance(record.read_config(path), dict)
    except DamagedFileError as error:
      check_sentence(str(error))
