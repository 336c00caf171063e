"""What cannot work is refused in a sentence that names the config's fields, before anything is compiled."""

import flax
import jax
import jax.numpy as jnp
import pytest
import tiny_recipe

from jax_uda import memory
from jax_uda.common import mesh as mesh_lib
from jax_uda.run import dry_run, experiment, stages, start, training
from jax_uda.step.method import ViewMaker

COMPACT = dict(
  encoder="compact",
  decoder="light",
  encoder_options=dict(widths=(8, 8, 16), depths=(1, 1)),
  decoder_options=dict(width=8),
)
VIT = dict(
  encoder="dinov2_vits14",
  decoder="vit_head",
  encoder_options=dict(embed_dim=16, depth=1, num_heads=2, position_grid=4),
)
CUT = dict(
  num_patches=8,
  generator=dict(width=4, blocks=1, nce_layers=(0, 4, 8, 12)),
  discriminator=dict(width=4),
  patch_mlp=dict(dim=8),
)
SOURCE = dict(name="source_only")  # the quickest to trace


def hrda(**settings):
  settings = dict(crop_size=(16, 16)) | settings
  return COMPACT | dict(hrda=settings | dict(attention_options=dict(embed_dim=8, channels=8)))


def method(name, extension="", /, **settings):
  return dict(name=name, also={extension: settings}) if extension else dict(name=name, **settings)


def contrasted(name):
  return method(name, "pixel_contrasted", grid=(4, 4))


VIEW = r"config\.method: {} needs the view {}; this method has source only.*e\.g\. dacs"
LABELS = r"config\.method\.also\.{0}: {0} needs labels of the view target.* e\.g\. dacs"
STRIDE = r"{}.*config\.model\.encoder = 'compact'.*multiples of 8"

# What is wrong -> fields of the config, what the message says.
REFUSED = {
  # --- nothing would come of it ---
  "no steps": ({"num_steps": 0}, r"config\.num_steps = 0 must be at least 1"),
  "no checkpoint is kept": (
    {"checkpoint.keep": 0},
    r"config\.checkpoint\.keep = 0 must be at least 1",
  ),
  # --- the network lacks what the method asks for ---
  "entropy crops at one resolution": (
    {"method": method("dacs", "entropy_cropped", start_step=5)},
    r"crop_box, which CompactEncoder does not take",
  ),
  "two resolutions without their weight": (
    {"method": contrasted("dacs"), "model": hrda()},
    r"config\.model\.hrda\.feature_weighter = False: .* set it to True",
  ),
  "hidden tokens of a convolutional encoder": (
    {"method": method("vfm_uda")},
    r"mask_ratio, which CompactEncoder does not take",
  ),
  "hidden tokens on HRDA": (
    {"method": method("vfm_uda"), "model": hrda()},
    r"mask_ratio, which HRDA around CompactEncoder does not take",
  ),
  "prototypes of another width than the map": (
    {"method": method("spcl", feature_dim=99)},
    r"config\.method\.feature_dim = 99, but the decoder's map has 8 channels",
  ),
  "day images that the data does not have": (
    {"method": method("sepico", day_night_fusion=True)},
    r"config\.method\.day_night_fusion = True needs .*config\.data\.target\.day_images = True",
  ),
  # --- sizes ---
  "a detail crop larger than the image": (
    {"model": hrda(crop_size=(64, 64))},
    r"config\.data\.crop_size = \[32, 32\].*hrda\.crop_size = \[64, 64\].*larger than the training",
  ),
  "a detail crop that the stride does not divide": (
    {"model": hrda(crop_size=(20, 20))},
    STRIDE.format(r"config\.data\.crop_size = \[32, 32\]"),
  ),
  "crops that the stride does not divide": (
    {"data.crop_size": (30, 32)},
    STRIDE.format(r"config\.data\.crop_size = \[30, 32\]"),
  ),
  "crops that the translator's 4 does not divide": (
    {"method": method("dacs", "translated", **CUT), "model": VIT, "data.crop_size": (30, 32)},
    r"config\.data\.crop_size = \(30, 32\): the translator needs multiples of 4",
  ),
  "crops that hold no patch": (
    {"model": VIT, "data.crop_size": (12, 32)},
    r"config\.data\.crop_size = \[12, 32\].*dinov2_vits14.*no patch of 14x14",
  ),
  "class-balanced crops larger than the image": (
    {
      "method": method("sepico", embedding_dim=8),
      "data.crop_target": False,
      "data.crop_size": (64, 64),
    },
    r"config\.data\.crop_size = \[64, 64\].*a crop of \(64, 64\) does not fit an image of \(32, 48",
  ),
  "whole targets beside class-balanced crops": (
    {
      "method": method("sepico", "similarity", feature_dim=8, target="target"),
      "data.crop_target": False,
      "data.crop_size": (16, 16),
    },
    r"config\.method\.crop_target = True: similarity learns from",
  ),
  "cells of another size than the map's": (
    {"method": method("dacs", "region_consistent", contrast=dict(num_rows=1), cell=16)},
    r"config\.method: the map \(4, 4\) of the region head has no cells of 16 pixels",
  ),
  "a teacher that runs away": ({"ema.decay": 2.0}, r"config\.ema\.decay = 2\.0 must lie between"),
  "a crop with one side": (
    {"data.crop_size": (32,)},
    r"config\.data\.crop_size = \(32,\) must be \(height, width\)",
  ),
  "windows with gaps between them": (
    {"method": SOURCE, "eval.window": (16, 16), "eval.stride": (20, 20)},
    r"config\.eval\.stride = \[20, 20\].* must lie between 1 and the window",
  ),
  "a network of neither": (
    {"method": SOURCE, "eval.networks": ("master",)},
    r"config\.eval\.networks = 'master' is unknown.*Known: student, teacher",
  ),
  "no network to score": (
    {"method": SOURCE, "eval.midway_networks": ()},
    r"config\.eval\.midway_networks = \(\) must name at least one of student, teacher",
  ),
  "tiles of nothing": (
    {"method": SOURCE, "eval.whole_pixels": 100},
    r"config\.eval\.whole_pixels = 100 must be at least 4096",
  ),
  "groups that do not divide the batch": (
    {"method": method("spcl_warm_up", groups=3)},
    r"config\.method\.groups = 3 cannot split a batch of 8 images",
  ),
  # --- no pseudo-labels ---
  "holes on the source alone": (
    {"method": method("source_only", "masked")},
    VIEW.format("masked", "target"),
  ),
  "regions of the source alone": (
    {"method": method("source_only", "region_consistent")},
    VIEW.format("region_consistent", "target"),
  ),
  "a contrast of mixes on the source alone": (
    {"method": contrasted("source_only")},
    VIEW.format("pixel_contrasted", "mixed"),
  ),
  "prototypes of mixes on the source alone": (
    {"method": method("source_only", "similarity", feature_dim=8)},
    VIEW.format("similarity", "mixed"),
  ),
  "entropy crops of mixes on the source alone": (
    {"method": method("source_only", "entropy_cropped"), "model": hrda()},
    VIEW.format("entropy_cropped", "mixed"),
  ),
  "holes without pseudo-labels": (
    {"method": method("spcl_warm_up", "masked")},
    LABELS.format("masked"),
  ),
  "regions without pseudo-labels": (
    {"method": method("spcl_warm_up", "region_consistent")},
    LABELS.format("region_consistent"),
  ),
  "pseudo-labels from no files": (
    {"method": method("spcl_self_training")},
    r"config\.data\.pseudo_labels is missing",
  ),
  "files of pseudo-labels that are not there": (
    {"data.pseudo_labels": "labels"},
    r"config\.data\.pseudo_labels = 'labels': no thresholds\.json",
  ),
  "two translators": (
    {
      "method": method(
        "confeti", stage=2, thing_classes=(1,), also=dict(translated=CUT), translator=CUT
      )
    },
    r"config\.method\.also\.translated: translated needs a method without auxiliary networks",
  ),
  "holes twice": (
    {"method": method("mic", thing_classes=(1,), also=dict(masked={}))},
    r"config\.method\.also\.masked: masked brings a term 'masked', and there is one already",
  ),
  # --- classes ---
  "things that are no classes": (
    {"method": method("daformer", thing_classes=(3, 19))},
    r"config\.method\.thing_classes = \(3, 19\) must lie between 0 and 10",
  ),
  "weights of other classes": (
    {"method": method("sepico", embedding_dim=8, class_weights=(1.0,) * 19)},
    r"config\.method\.name = 'sepico': class_weights has shape \(19,\).*\(11,\)",
  ),
  # --- names ---
  "an encoder": ({"model.encoder": "compakt"}, r"config\.model\.encoder.*mean 'compact'"),
  "a decoder": ({"model.decoder": "lite"}, r"config\.model\.decoder = 'lite' is unknown"),
  "an encoder's option": (
    {"model.encoder_options": dict(width=8)},
    r"config\.model\.encoder_options has no field 'width'.*mean 'widths'",
  ),
  "HRDA's option": (
    {"model": COMPACT | dict(hrda=dict(cropsize=(16, 16)))},
    r"config\.model\.hrda has no field 'cropsize'.*mean 'crop_size'",
  ),
  "a method": ({"method": method("sepcio")}, r"config\.method\.name.*mean 'sepico'"),
  "an extension": ({"method": method("dacs", "maskd")}, r"config\.method\.also.*mean 'masked'"),
  "an extension without settings": (
    {"method": dict(name="dacs", also="masked")},
    r"config\.method\.also = 'masked' must give each component its settings",
  ),
  "a method's setting": (
    {"method": method("dacs", self_training=dict(pseudo_treshold=0.9))},
    r"config\.method\.self_training has no field 'pseudo_treshold'.*mean 'pseudo_threshold'",
  ),
  "an extension's setting": (
    {"method": method("dacs", "masked", blok=8)},
    r"config\.method\.also\.masked has no field 'blok'.*mean 'block'",
  ),
  "a compute dtype": ({"compute_dtype": "bfloat"}, r"config\.compute_dtype.*mean 'bfloat16'"),
  "an optimizer": ({"optimizer.name": "adamz"}, r"config\.optimizer\.name.*mean 'adamw'"),
  "parameters": (
    {"optimizer.groups": ({"pattern": "^hed"},)},
    r"config\.optimizer\.groups: the pattern '\^hed' matches none",
  ),
}


def compiles(*args, **kwargs):
  raise AssertionError("something was compiled")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """Prepared once; the class counts of small images take no time."""
  folder = tmp_path_factory.mktemp("data")
  experiment.build(tiny_recipe.get_config(f"data_dir={folder}"))
  return folder


@pytest.fixture
def recipe_with(data_dir):
  def make(fields, arg=""):
    config = tiny_recipe.get_config(f"data_dir={data_dir}{arg}")
    config.unlock()
    config.model = COMPACT
    for path, value in fields.items():
      *groups, field = path.split(".")
      group = config
      for name in groups:
        group = group[name]
      group[field] = value
    return config.lock()

  return make


@pytest.mark.parametrize("wrong", REFUSED)
def test_is_refused_before_anything_is_compiled(wrong, recipe_with, tmp_path, monkeypatch):
  fields, message = REFUSED[wrong]
  monkeypatch.setattr(experiment.Experiment, "initial_state", compiles)
  with pytest.raises(ValueError, match=message):
    training.train(recipe_with(fields), tmp_path / "run")
  assert not (tmp_path / "run").exists()  # the same folder serves the corrected config


def test_a_config_that_works_is_not_refused_and_its_step_is_traced_once(recipe_with, monkeypatch):
  config = recipe_with({"method": method("dacs", "entropy_cropped", start_step=5), "model": hrda()})
  exp = experiment.build(config)
  learner = exp.learner
  traced = []
  maker = ViewMaker(lambda draws, batch, teacher, views: traced.append(1) or {})
  learner.method = learner.method._replace(views={**learner.method.views, "none": maker})
  batch = mesh_lib.put_batch(learner.mesh, exp.training_batches()[0])
  dry_run.training(exp, batch)
  dry_run.evaluation(exp)
  assert len(traced) == 2  # before step 5 and from it on
  learner.step_of(5).lower(exp.abstract_state(), batch)
  assert len(traced) == 2


@pytest.mark.parametrize(
  "fields",
  (
    {"eval.window": (20, 20), "eval.stride": (20, 20)},
    {"eval.scales": (1.0, 0.7)},
    {"eval.scales": (1.1,), "model": hrda()},
  ),
  ids=str,
)
def test_sizes_that_the_stride_does_not_divide_are_padded(fields, recipe_with):
  exp = experiment.build(recipe_with({"method": SOURCE, **fields}))
  dry_run.evaluation(exp)
  inference = exp.settings.evaluation.inference
  (crop, *_) = inference.crops((32, 48))[-1:]
  network, variables = exp.learner.predictor(inference).network, exp.abstract_state().student
  unit = 16 if "model" in fields else 8
  rounded = tuple(-(-side // unit) * unit for side in crop)
  assert network.canvas(variables, crop, 4) == rounded != crop


@pytest.mark.parametrize("field", ["init_from", "init_auxiliary"])
def test_a_run_without_its_predecessor_is_refused(field, recipe_with, tmp_path, monkeypatch):
  monkeypatch.setattr(experiment, "build", compiles)
  with pytest.raises(ValueError, match=rf"config\.{field} = 'before': no checkpoints in .*before"):
    training.train(recipe_with({field: "before"}), tmp_path / "run")


@pytest.mark.parametrize("field", ["init_from", "init_auxiliary", "data.pseudo_labels"])
def test_a_stage_before_its_predecessor_is_refused_before_the_first_stage(
  field, recipe_with, tmp_path, monkeypatch
):
  config = recipe_with({}, ",warm_up=2")
  group, _, name = field.rpartition(".")
  config.stages.warm_up = {group: {name: "method"}} if group else {name: "method"}
  monkeypatch.setattr(experiment, "build", compiles)
  message = rf"config\.stages\.warm_up\.{field} = 'method' is neither a stage .* before it"
  with pytest.raises(ValueError, match=message):
    stages.train(config, tmp_path)


@flax.struct.dataclass
class ToyState:
  """As much of a state as a checkpoint wants."""

  step: jax.Array
  student: dict
  objective_state: dict


def toy_state(num_classes, memory_classes):
  student = {"params": {"classifier": jnp.zeros((8, num_classes))}}
  bank = memory.empty_ring_bank(memory_classes, 3, 8)
  state = ToyState(jnp.int32(3), student, {"contrast": bank})
  return jax.device_put(state, mesh_lib.replicated(mesh_lib.data_mesh(1)))


def save(workdir, state):
  with start.open_checkpoints(workdir) as checkpoints:
    checkpoints.save(state)


CLASSES = r"cannot be read: {} has the shape {} there, but {} here; config\.model, .*config\.data"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bank_of_other_classes_is_not_continued(tmp_path):
  save(tmp_path, toy_state(19, 19))
  message = CLASSES.format(r"objective_state\.contrast\.entries", r"\(19, 3, 8\)", r"\(11, 3, 8\)")
  with start.open_checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match=message):
      checkpoints.restore(toy_state(19, 11))
    checkpoints.restore(toy_state(19, 19))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("carry", ["weights", "run"])
def test_a_network_of_other_classes_is_not_carried_over(carry, tmp_path):
  save(tmp_path / "before", toy_state(19, 19))
  shape = r"student\.params\.classifier", r"\(8, 19\)", r"\(8, 11\)"
  message = r"init_from = 'before': .*" + CLASSES.format(*shape)
  other = start._other_run(tmp_path / "run", "init_from", "before")
  with pytest.raises(ValueError, match=message), other as others:
    here = {"student": toy_state(11, 11).student}
    others.restore_shared(here) if carry == "weights" else others.restore_part(here)


def test_an_unknown_way_to_carry_over_is_refused(recipe_with, tmp_path):
  config = recipe_with({"init_from": "before", "init_carry": "weight"})
  with pytest.raises(ValueError, match=r"config\.init_carry = 'weight' .*mean 'weights'"):
    training.train(config, tmp_path / "run")
