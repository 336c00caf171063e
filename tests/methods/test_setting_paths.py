"""A setting that cannot be used is named by the path at which a config has it."""

import pytest

from jax_uda import methods
from jax_uda.common.registry import SettingError
from jax_uda.step.method import Task

TASK = Task(19, (1 / 19,) * 19)


@pytest.mark.fast
@pytest.mark.parametrize(
  "path, settings",
  [
    ("method.name", {}),
    ("method.contrast.variant", dict(name="sepico", contrast=dict(variant="x"))),
    ("method.masked.domains", dict(name="mic", masked=dict(domains="x"))),
    ("method.also.masked.domains", dict(name="dacs", also=dict(masked=dict(domains="x")))),
    ("method.prototypes", dict(name="confeti", prototypes=dict(x=1))),
    (
      "method.also.pixel_loss.options",
      dict(name="dacs", also=dict(pixel_loss=dict(loss="pixel_contrast", options=dict(x=1)))),
    ),
    (
      "method.also.region_consistent.contrast",
      dict(name="dacs", also=dict(region_consistent=dict(contrast=dict(x=1)))),
    ),
  ],
)
def test_the_path_is_that_in_the_config(path, settings):
  with pytest.raises(SettingError) as caught:
    methods.build(TASK, **settings)
  assert ".".join(caught.value.path) == path
