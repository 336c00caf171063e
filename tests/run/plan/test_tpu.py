"""Training steps compiled for TPU slices that are not there: what they exchange does not grow."""

import pytest

from jax_uda.run import config as config_lib
from jax_uda.run import recipes
from jax_uda.run.plan import chips, plan

pytestmark = pytest.mark.tpu
pytest.importorskip(
  "libtpu", reason='the TPU compiler is not installed: pip install "jax-uda[plan]"'
)

QUICK = ("dacs", "sepico")
METHODS = (*QUICK, "daformer", "mic", "spcl", "cluda", "rccr", "confeti", "vfm_uda")
IMAGES = 2  # of each domain per chip


def planned(method: str, topology: str) -> plan.Plan:
  """The plan of the demo's last stage with a method."""
  mesh = chips.topology_mesh(topology)
  stages = config_lib.stage_configs(recipes.load(f"demo:method={method}"))
  config = list(stages.values())[-1].copy_and_resolve_references().unlock()
  config.batch_size = IMAGES * mesh.size
  return plan.of_run(config.lock(), method, mesh)


def exchanged(of: plan.Plan) -> int:
  return sum(item.num_bytes * item.times for item in of.collectives)


@pytest.mark.parametrize(
  "method", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in METHODS[2:])]
)
def test_exchanges_are_gradients_and_statistics_and_do_not_grow_with_the_chips(method):
  few, many = planned(method, "v5e:2x2"), planned(method, "v5e:4x4")
  assert few.fits and many.fits
  plan.check_exchanges(few)
  plan.check_exchanges(many)
  # The gradient of the student's parameters, and little beside it: the state also holds teacher and moments.
  assert exchanged(few) < few.state / 2
  assert exchanged(many) < 1.1 * exchanged(few) + 2**18


def test_a_program_too_large_for_a_chip_says_how_much_it_needs():
  mesh = chips.topology_mesh("v5e:1x1")
  config = recipes.load("demo:method=dacs")
  config = (
    list(config_lib.stage_configs(config).values())[-1].copy_and_resolve_references().unlock()
  )
  config.batch_size, config.data.crop_size, config.compute_dtype = 512, (256, 256), "float32"
  refused = plan.of_run(config.lock(), "large", mesh)
  assert refused.fits is False and refused.peak > refused.memory
  assert refused.remedies[0] == "--config.compute_dtype=bfloat16"


def test_an_unknown_slice_is_refused_with_those_that_exist():
  with pytest.raises(ValueError, match=r"no TPU slice; slices are, e\.g\., v5e:2x2"):
    chips.topology_mesh("v9:2x2")
  with pytest.raises(ValueError, match="has no such slice"):
    chips.topology_mesh("v5e:3x7")
