"""Runs that start from others, which were moved meanwhile."""

import pytest
import tiny_recipe

from jax_uda.common.registry import SettingError
from jax_uda.run import record, start
from jax_uda.run import settings as settings_lib

pytestmark = pytest.mark.fast


def config_from(name):
  config = tiny_recipe.get_config("method=source_only")
  config.init_from = str(name)
  return config


def refusal(name, workdir):
  with pytest.raises(SettingError) as caught:
    start.check(settings_lib.from_config(config_from(name)), workdir)
  return str(caught.value)


def test_a_run_that_was_moved_is_asked_for_by_its_new_folder(tmp_path):
  workdir, gone = tmp_path / "new" / "adapted", tmp_path / "old" / "warm_up"
  text = refusal(gone, workdir)
  assert f"no checkpoints in {gone}; if that run was moved, name its new folder" in text
  assert refusal("warm_up", workdir).endswith("; run it first.")
  (tmp_path / "new" / "warm_up" / "checkpoints" / "8").mkdir(parents=True)
  assert refusal(gone, workdir).endswith("say 'warm_up'.")


def test_a_run_goes_on_where_the_one_that_it_started_from_was_moved(tmp_path):
  (tmp_path / "new" / "warm_up").mkdir(parents=True)
  (tmp_path / "new" / "other").mkdir()
  old, workdir = tmp_path / "old" / "warm_up", tmp_path / "new" / "adapted"
  workdir.mkdir()
  record.state_files.write_json(workdir / record.CONFIG, record._plain(config_from(old)))
  for name in ("warm_up", tmp_path / "new" / "warm_up"):
    record.check_config(config_from(name), workdir)
  with pytest.raises(ValueError, match="config.init_from: .*warm_up' there, 'other' here"):
    record.check_config(config_from("other"), workdir)
  old.mkdir(parents=True)  # it is there still: the other one is another run
  with pytest.raises(ValueError, match="config.init_from: "):
    record.check_config(config_from("warm_up"), workdir)
