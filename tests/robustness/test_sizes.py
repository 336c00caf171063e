"""Images of any size: what is predicted is what was scored, and few programs do it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import tiny_recipe
from robustness.table import Case, check, parametrize

from jax_uda.common import mesh
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import Examples, sizes_of
from jax_uda.run import classes_file, evaluation, experiment, metrics, predict, results
from jax_uda.run.trained_model import TrainedModel
from jax_uda.step.inference import Inference
from jax_uda.step.outputs import Outputs
from jax_uda.step.predictor import make_predictor

SIZES = ((32, 48), (33, 61), (72, 96), (32, 48))
CLASSES = ("soil", "crop", "weed")
ONE = mesh.data_mesh(1)


def draw(rng, size):
  """An image of noise around three colors, and its label."""
  rows, columns = np.mgrid[: size[0], : size[1]]
  label = ((columns // 8 + rows // 8) % 3).astype(np.uint8)
  colors = np.array([[90, 60, 30], [0, 160, 0], [220, 0, 0]])
  return (colors[label] + rng.integers(0, 30, (*size, 3))).astype(np.uint8), label


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Two domains in folders; images of several sizes."""
  root, rng = tmp_path_factory.mktemp("fields"), np.random.default_rng(0)
  for domain in "ab":
    for index, size in enumerate(SIZES):
      for kind, array in zip(("images", "labels"), draw(rng, size), strict=True):
        path = (
          root / domain / kind / f"{index}.{'jpg' if index == 1 and kind == 'images' else 'png'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(array).save(path)
  return root


@pytest.fixture(scope="module")
def build(root):
  """Makes the run of a network that is not trained; programs are shared where networks are."""
  base, built = tiny_recipe.get_config(f"data_dir={root / 'cache'},method=source_only"), {}

  def make(size=(), **settings):
    config = base.copy_and_resolve_references()
    fields = dict(name="folders", path=str(root), classes=CLASSES, size=size)
    config.data.source = dict(
      train=("a/images", "a/labels"), val=("a/images", "a/labels"), **fields
    )
    config.data.target = dict(train=("b/images",), val=("b/images", "b/labels"), **fields)
    config.eval.update(batch_size=1, source=False, networks=("student",), **settings)
    exp = experiment.build(config)
    if built:
      exp.learner._programs = built["learner"]._programs
    built["learner"] = exp.learner
    if "state" not in built:
      rng = np.random.default_rng(1)
      draw_values = lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype)
      state = exp.abstract_state()
      built["state"] = state.replace(student=jax.tree.map(draw_values, state.student), step=0)
    return exp, built["state"]

  return make


def score_of_files(folder, labels):
  counts = np.zeros((3, 3), np.int64)
  for path in sorted(labels.iterdir()):
    label, prediction = (np.array(PIL.Image.open(file)) for file in (path, folder / path.name))
    counts += metrics.confusion(label[None], prediction[None], 3)
  return counts


@pytest.mark.parametrize(
  "settings",
  (
    dict(),
    dict(flip=True, window=(32, 32), stride=(16, 32)),
    dict(scales=(1.0, 0.75)),
    dict(size=(32, 48)),
    dict(whole_pixels=64**2),
  ),
  ids=str,
)
def test_the_files_of_predict_have_the_scores_of_results(settings, build, root, tmp_path, capsys):
  exp, state = build(**settings)
  expected = results.write(exp, state, tmp_path)["target"]["student"]
  folder = predict.write(exp, state, tmp_path, images=str(root / "b" / "images"))
  counts = score_of_files(folder, root / "b" / "labels")
  actual = evaluation.scores(counts, exp.domains.label_space)
  assert actual == expected and 0 < expected["pixel_accuracy"] < 1
  assert json.loads((tmp_path / "results.json").read_text())["target"]["student"] == expected
  said = capsys.readouterr().out
  assert ("in tiles of 64x64 pixels" in said) == ("whole_pixels" in settings)
  model = TrainedModel(
    model=exp.learner.model,
    variables=state.student,
    classes=exp.domains.label_space,
    inference=exp.settings.evaluation.inference,
    image_bound=exp.domains.image_bound,
    step=0,
    mesh=exp.learner.mesh,
  )
  model.__dict__["_predict"] = lambda images, size: exp.learner.predict(
    state.student, images, model.inference, size=size
  )
  image = np.array(PIL.Image.open(root / "b" / "images" / "0.png"))
  np.testing.assert_array_equal(model.predict([image])[0][0], PIL.Image.open(folder / "0.png"))


def test_sizes_are_read_from_headers_and_kept(build):
  exp, _ = build()
  examples = exp.domains.target_val
  assert sizes_of(examples) == sizes_of(examples, "label") == list(SIZES)
  assert [example["image"].shape[:2] for example in examples] == list(SIZES)
  path = examples._folder / "sizes_val_image.json"
  whole = path.read_text()
  for damaged in ("", "[[1]]", "[[1, 2]]", "{}", whole.replace("33", "31")):
    path.write_text(damaged)
    assert Examples(examples._folder, "val", fields=("image",)).sizes("image") == list(SIZES)


def test_a_run_records_its_setting_and_runs_of_earlier_versions_are_read(build, tmp_path):
  exp, _ = build(size=(32, 48))
  classes_file.write(tmp_path, exp.domains)
  classes = classes_file.read(tmp_path)
  assert classes and classes.image_bound == (32, 48) == classes.image_size
  classes_file.write(tmp_path, build()[0].domains)
  classes = classes_file.read(tmp_path)
  assert classes and classes.image_bound is None and classes.image_size == (32, 48)
  content = json.loads((tmp_path / classes_file.FILE).read_text())
  del content["image_bound"], content["checksum"]
  (tmp_path / classes_file.FILE).write_text(json.dumps(content))
  for target, bound in (
    (dict(name="folders"), None),
    (dict(name="folders", size=[]), None),
    (dict(name="folders", size=[32, 64]), (32, 48)),
    (dict(name="acdc"), (32, 48)),
  ):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"target": target}}))
    classes = classes_file.read(tmp_path)
    assert classes and classes.image_bound == bound, target


# --- any size, on a network that looks at single pixels and takes multiples of 8 ---


class Choosy:
  """Logits are the colors; sides must be multiples of 8."""

  def apply(self, _, image, **__):
    height, width = image.shape[1:3]
    if height % 8 or width % 8:
      raise ValueError(f"image size {height}x{width}: sides must be multiples of 8")
    return Outputs(255 * image, features=(), fused=image, heads={})


def look(size, target=None, **settings):
  image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
  predictor = make_predictor(Choosy(), ONE, Inference(**settings))
  return image, predictor(None, image, target or size), predictor


def whole(size, **settings):
  """Whether each pixel of a prediction is the strongest color of its own pixel."""

  def read(_):
    image, prediction, _ = look(size, **settings)
    assert prediction.label.shape == prediction.confidence.shape == (1, *size)
    return (prediction.label == image.argmax(-1)).all() and (prediction.confidence > 0.3).all()

  return read


@parametrize(
  Case("a line", whole((1, 300)), True),
  Case("a column", whole((2000, 2)), True),
  Case("a narrow strip", whole((8, 900)), True),
  Case("one pixel", whole((1, 1)), True),
  Case("sides that are no multiples", whole((33, 61)), True),
  Case("mirrored, too", whole((33, 61), flip=True), True),
  Case("in windows", whole((43, 75), window=(32, 32), stride=(16, 24)), True),
  Case("smaller than the window", whole((20, 75), window=(32, 32), stride=(32, 32)), True),
  Case("a window that is no multiple", whole((43, 75), window=(30, 30), stride=(15, 15)), True),
  Case("on a coarser grid", whole((33, 61), grid=64), True),
  Case("in tiles", whole((130, 201), whole_pixels=64**2), True),
  Case("in tiles of a strip", whole((8, 900), whole_pixels=64**2), True),
  Case("mirrored windows in tiles", whole((99, 130), whole_pixels=64**2, flip=True, window=(32, 32),
       stride=(16, 16)), True),
  Case("fitted, however narrow", lambda _: rescale.fit(np.zeros((1, 4000, 3), np.uint8), (512, 1024)).shape,
       (1, 1024, 3)),
  Case("not fitted", lambda _: rescale.fit(np.zeros((33, 61, 3), np.uint8), None).shape, (33, 61, 3)),
)  # fmt: skip
@pytest.mark.fast
def test_a_size_of_any_kind_is_predicted_pixel_by_pixel(case, tmp_path):
  check(case, tmp_path)


@pytest.mark.fast
def test_a_large_prediction_is_made_in_strips_with_the_same_values():
  for settings in (dict(), dict(flip=True, scales=(1.0, 0.5)), dict(align_corners=True)):
    _, strips, _ = look((16, 24), (100, 150), whole_pixels=64**2, **settings)
    _, at_once, _ = look((16, 24), (100, 150), **settings)
    np.testing.assert_allclose(strips.confidence, at_once.confidence, atol=1e-4)
    assert (strips.label == at_once.label).mean() > 0.999


@pytest.mark.fast
def test_many_sizes_share_the_programs_of_few_canvases():
  sizes = [(64 + 5 * i, 70 + 3 * i) for i in range(12)]
  for settings, programs in (
    (dict(window=(32, 32), stride=(16, 16)), 1),
    (dict(grid=64), 2),
    (dict(whole_pixels=64**2), 1),
  ):
    predictor = make_predictor(Choosy(), ONE, Inference(**settings))
    for size in sizes:
      predictor(None, np.zeros((1, *size, 3), np.uint8), (40, 40))
    assert predictor.network.compiled._cache_size() == programs, settings


class Spread(Choosy):
  """Logits that depend on the place in what the network sees."""

  def apply(self, _, image, **__):
    rows, columns = (jnp.linspace(-1, 1, side) for side in image.shape[1:3])
    slope = 300 * (rows[:, None, None] * columns[:, None]) * jnp.array([0.0, 1, -1])
    return Outputs(255 * image + slope, features=(), fused=image, heads={})


@pytest.mark.fast
@pytest.mark.parametrize("size", ((64, 64), (61, 47), (64, 40)), ids=str)
def test_windows_of_a_shared_program_are_averaged_as_in_one_program_per_size(size):
  image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
  settings = Inference(window=(32, 24), stride=(16, 16))
  prediction = make_predictor(Spread(), ONE, settings)(None, image, size)
  total, count = np.zeros((1, *size, 3)), np.zeros((1, *size, 1))
  starts = lambda length, side, step: sorted({*range(0, length - side, step), length - side})
  for y in starts(size[0], 32, 16):
    for x in starts(size[1], 24, 16):
      crop = image[:, y : y + 32, x : x + 24].astype(np.float32) / 255
      total[:, y : y + 32, x : x + 24] += np.asarray(Spread().apply(None, crop).decoded.logits)
      count[:, y : y + 32, x : x + 24] += 1
  expected = jax.nn.softmax(total / count)
  np.testing.assert_allclose(prediction.confidence, expected.max(-1), atol=1e-5)
  assert (prediction.label == expected.argmax(-1)).mean() > 0.999


class Never(Choosy):
  """Takes no image."""

  def apply(self, _, image, **__):
    raise ValueError(f"an image of {image.shape[1]} rows does not fit")


@pytest.mark.fast
def test_a_network_that_refuses_all_sizes_says_why_for_the_size_of_the_image():
  with pytest.raises(ValueError, match="an image of 33 rows does not fit"):
    make_predictor(Never(), ONE, Inference())(None, np.zeros((1, 33, 9, 3), np.uint8), (33, 9))
