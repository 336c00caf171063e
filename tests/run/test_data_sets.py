"""A run on several sources and several targets."""

import numpy as np
import pytest
import tiny_recipe

from jax_uda.common.registry import SettingError
from jax_uda.run import config as config_lib
from jax_uda.run import data_sets, experiment, prepare_data

STREETS = dict(name="streets", size=(32, 48), num_val=2)


def street(domain, number, seed=0, **more):
  return dict(STREETS, domain=domain, num_train=number, seed=seed, **more)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def make(data_dir, sources=(), targets=(), keep=False):
  config = tiny_recipe.get_config(f"data_dir={data_dir}")
  with config.unlocked():
    if not keep:
      config.data.source, config.data.target = {}, {}
    config.data.sources, config.data.targets = sources, targets
  return config


def test_a_run_has_all_sets_and_is_evaluated_on_each_target(data_dir, quick_streets):
  sources = (street("day", 6), street("day", 3, seed=1))
  targets = (street("dusk", 5), street("dusk", 2, seed=1))
  exp = experiment.build(make(data_dir, sources, targets))
  domains = exp.domains
  assert len(domains.source_train) == 9 and len(domains.target_train) == 7
  assert len(domains.source_val) == 4
  assert set(exp.target_sets) == {"target", "streets"}
  counts = domains.source_train.class_counts
  np.testing.assert_allclose(domains.class_frequency, counts.sum(0) / counts.sum())
  batch = exp.training_batches()[0]
  assert batch["source"]["image"].shape == (8, 32, 32, 3)
  assert set(domains.identities) == {"source", "sources.1", "target", "targets.1"}


@pytest.mark.fast
def test_fields_of_the_sets_are_named_in_errors(data_dir):
  wrong = (street("day", 6), dict(name="nowhere"))
  with pytest.raises(SettingError, match="config.data.sources.1.name = 'nowhere'"):
    experiment.build(make(data_dir, wrong, (street("dusk", 2),)))
  some = (street("day", 6, share=1.0), street("day", 3, seed=1))
  with pytest.raises(SettingError, match="config.data.sources: give each data set a share"):
    experiment.build(make(data_dir, some, (street("dusk", 2),)))
  none = (street("day", 6, share=0), street("day", 3, seed=1, share=1))
  with pytest.raises(SettingError, match="config.data.source.share = 0 must be > 0"):
    experiment.build(make(data_dir, none, (street("dusk", 2),)))
  with pytest.raises(SettingError, match="config.data.source is set, and is not the first"):
    experiment.build(make(data_dir, (street("night", 6),), (), keep=True))


@pytest.mark.fast
def test_a_single_set_is_as_before_and_every_set_is_prepared():
  config = config_lib.default()
  config.data.source, config.data.target = dict(name="a"), dict(name="b")
  assert data_sets.sets_of(config.data.to_dict(), "source") == (dict(name="a"),)
  config.data.targets = (dict(name="b"), dict(name="c", share=2), dict(name="d"))
  described = data_sets.described(config.data.to_dict(), {"d": dict(name="mine")})
  assert [".".join(path) for path, _, _ in described] == [
    "data.source",
    "data.target",
    "data.targets.1",
    "data.targets.2",
    "eval.targets.d",
    "eval.targets.c",
  ]
  assert dict((path[-1], spec) for path, spec, _ in described)["c"] == dict(name="c")


def test_every_set_is_prepared(data_dir):
  config = make(data_dir, (street("day", 6), street("day", 3, seed=1)), (street("dusk", 2),))
  config_lib.fill_data_sets(config.unlock())
  paths = [path for path, _ in prepare_data._builders(config.data, config.eval.targets)]
  assert paths == [("data", "source"), ("data", "sources", "1"), ("data", "target")]
