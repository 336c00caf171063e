"""A trained network leaves its run: as a weight file, as a program, as prediction files; or comes from another."""

import dataclasses
import functools
import json
import re
import sys

import jax
import jax.export
import numpy as np
import PIL.Image
import pytest
from flax import traverse_util
from robustness.table import check_sentence

from jax_uda import models
from jax_uda.common import mesh as mesh_lib
from jax_uda.data import label_spaces
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.value_range import Reading
from jax_uda.models import catalog, weights
from jax_uda.models.weights import _convert as convert
from jax_uda.run import export, imported_model, load_model, model_text, predict, video
from jax_uda.run.trained_model import TrainedModel
from jax_uda.step.inference import Inference

SETTINGS = dict(
  encoder="compact",
  decoder="light",
  encoder_options=dict(widths=(8, 8, 16), depths=(1, 1)),
  decoder_options=dict(width=8),
)
SPACE = label_spaces.CAMVID11


@pytest.fixture(scope="module")
def model():
  network = models.build(num_classes=11, **SETTINGS)
  variables = jax.jit(functools.partial(network.init, train=False, use_running_average=True))(
    jax.random.key(1), np.zeros((1, 32, 48, 3), np.float32)
  )
  return TrainedModel(
    model=network,
    variables=variables,
    classes=SPACE,
    inference=Inference(),
    image_bound=None,
    step=7,
    mesh=mesh_lib.data_mesh(1),
    network="teacher",
    reading=Reading(bands=(3, 2, 1)),
    batch_size=2,
    image_sizes=((32, 48),),
    settings=SETTINGS,
  )


def image(height=32, width=48, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def put(folder, **sizes):
  folder.mkdir(exist_ok=True)
  for name, size in sizes.items():
    (folder / f"{name}.png").write_bytes(image_files.encode_png(image(*size)))
  return folder


def test_an_image_of_any_kind_has_one_prediction(model, tmp_path):
  plain = dataclasses.replace(model, reading=Reading())
  pixels = image(40, 33)
  (tmp_path / "a.png").write_bytes(image_files.encode_png(pixels))
  one, *others = plain(
    [pixels, tmp_path / "a.png", str(tmp_path / "a.png"), PIL.Image.fromarray(pixels)]
  )
  for other in others:
    np.testing.assert_array_equal(other.label, one.label)
  assert one.label.shape == one.confidence.shape == (40, 33)
  assert one.probabilities.shape == (40, 33, 11)
  np.testing.assert_allclose(one.probabilities.sum(-1), 1, atol=1e-5)
  np.testing.assert_array_equal(one.probabilities.argmax(-1), one.label)
  np.testing.assert_allclose(one.probabilities.max(-1), one.confidence, atol=1e-6)
  np.testing.assert_array_equal(one.colors, SPACE.palette[one.label])
  np.testing.assert_array_equal(one.overlay(0.0), pixels)
  np.testing.assert_array_equal(one.overlay(1.0), one.colors)
  one.save(tmp_path / "out" / "label.png")
  np.testing.assert_array_equal(PIL.Image.open(tmp_path / "out" / "label.png"), one.label)
  with pytest.raises(ValueError, match="opacity = 2 must be"):
    one.overlay(2)
  with pytest.raises(ValueError, match="none.png cannot be read"):
    model(tmp_path / "none.png")


def test_probabilities_of_windows_flips_and_tiles_are_those_of_labels(model):
  inference = Inference(window=(32, 32), stride=(16, 16), flip=True, whole_pixels=64**2)
  one = dataclasses.replace(model, inference=inference)(image(70, 80))  # in tiles of 64x64
  np.testing.assert_array_equal(one.probabilities.argmax(-1), one.label)
  np.testing.assert_allclose(one.probabilities.max(-1), one.confidence, atol=1e-6)


def test_an_exported_file_is_all_that_is_needed(model, tmp_path):
  path = export.write_weights(model, tmp_path, {"licence": "mine"})
  assert path.name == "teacher.safetensors"
  again = load_model.load(path, evaluation={"flip": "false"})
  np.testing.assert_array_equal(again(image()).label, model(image()).label)
  assert again.classes.names == model.classes.names and again.folder is None
  fields = ("inference", "image_bound", "step", "network", "reading", "batch_size", "image_sizes")
  assert all(getattr(again, name) == getattr(model, name) for name in fields)
  assert load_model.load(path, evaluation={"flip": "true"}).inference.flip


def test_files_that_are_no_model_are_explained(model, tmp_path):
  weights.save(model.variables, tmp_path / "plain.safetensors")
  (tmp_path / "x.pth").write_bytes(b"x")
  path = export.write_weights(model, tmp_path)
  text = model_text.parse(weights.read(path).metadata, path)
  broken = text._replace(model={"encoder": "compacct", "decoder": "light"}).to_text()
  weights.save(model.variables, tmp_path / "b.safetensors", {model_text.KEY: broken})
  weights.save(model.variables, tmp_path / "c.safetensors", {model_text.KEY: "[]"})
  other = text._replace(model=SETTINGS | dict(decoder_options=dict(width=16))).to_text()
  weights.save(model.variables, tmp_path / "d.safetensors", {model_text.KEY: other})
  for name, sentence in {
    "plain.safetensors": "does not say which network it is of. Import it first: jax-uda import",
    "x.pth": "x.pth is neither the folder of a run nor a .safetensors file",
    "none.safetensors": "none.safetensors: there is no such file",
    "nowhere": "there is no such folder",
    "b.safetensors": "config.model.encoder = 'compacct' is unknown. Did you mean 'compact'",
    "c.safetensors": "says of its network what cannot be read",
    "d.safetensors": "d.safetensors",
  }.items():
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
      load_model.load(tmp_path / name)
    check_sentence(" ".join(str(caught.value).split()))


def test_predictions_of_files_lie_in_one_folder_with_pictures(model, tmp_path, capsys):
  plain = dataclasses.replace(model, reading=Reading())
  images = put(tmp_path / "in", a=(32, 48), b=(32, 48), c=(41, 50))
  out = tmp_path / "out"
  request = predict.Request(str(images), overlay=True, confidence=True)
  assert predict.write_of_model(plain, request, out=out) == out
  names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
  assert names == {
    *("a.png", "b.png", "c.png", "classes.json", "overlay/legend.png"),
    *("overlay/a.jpg", "overlay/b.jpg", "overlay/c.jpg"),
    *("confidence/a.png", "confidence/b.png", "confidence/c.png"),
  }
  expected = plain(images / "c.png")
  picture = PIL.Image.open(out / "c.png")
  np.testing.assert_array_equal(picture, expected.label)
  np.testing.assert_array_equal(picture.convert("RGB"), expected.colors)
  grey = np.asarray(PIL.Image.open(out / "confidence" / "c.png"))
  np.testing.assert_allclose(grey / 255, expected.confidence, atol=0.01)
  shown = np.asarray(PIL.Image.open(out / "overlay" / "c.jpg")).astype(int)
  assert np.abs(shown - expected.overlay()).mean() < 12, "a JPEG of noise"
  classes = json.loads((out / "classes.json").read_text())
  assert classes[3] == {"id": 3, "name": "road", "color": [128, 64, 128]}
  assert "3 predictions of 7 steps" in capsys.readouterr().out
  with pytest.raises(ValueError, match="--out is missing"):
    predict.write_of_model(plain, request)
  put(images / "overlay", z=(32, 48), a=(32, 48))
  with pytest.raises(ValueError, match="a folder 'overlay' of images would be mixed"):
    predict.write_of_model(plain, request, out=out)


def test_frames_of_a_video_are_predicted_in_order(model, tmp_path):
  pytest.importorskip("av")
  plain = dataclasses.replace(model, reading=Reading())
  shades = [30, 90, 150, 210, 250]
  with video.VideoWriter(tmp_path / "in" / "clip.mp4", 5) as writer:
    for shade in shades:
      writer.add(np.full((32, 48, 3), shade, np.uint8))
  frames = list(video.frames(tmp_path / "in" / "clip.mp4"))
  assert np.all(np.abs([frame.mean() for frame in frames] - np.array(shades)) < 4)
  assert video.number_of_frames(tmp_path / "in" / "clip.mp4") == 5
  put(tmp_path / "in", a=(32, 48))
  listed = tuple(str(tmp_path / "in" / name) for name in ("*.mp4", "a.png"))
  out = predict.write_of_model(plain, predict.Request(listed, overlay=True), out=tmp_path / "out")
  names = sorted(path.name for path in (out / "clip").iterdir())
  assert names == [f"{number:06d}.png" for number in range(1, 6)] and (out / "a.png").is_file()
  for name, frame in zip(names, frames, strict=True):
    label = np.asarray(PIL.Image.open(out / "clip" / name))
    assert (label == plain(frame).label).mean() > 0.99, "but for rounding in another batch"
  assert video.number_of_frames(out / "overlay" / "clip.mp4") == 5
  (tmp_path / "bad.mp4").write_bytes(b"no video")
  with pytest.raises(
    ValueError, match=r"1 of 1 images have no .*bad.mp4 cannot be read as a video"
  ):
    predict.write_of_model(plain, predict.Request(str(tmp_path / "bad.mp4")), out=out)


def test_a_video_without_pyav_is_said_before_anything_is_predicted(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  (tmp_path / "clip.mp4").write_bytes(b"")
  with pytest.raises(ValueError, match=r'clip.mp4 is a video, which PyAV reads: .*"\[video\]"'):
    predict.Request(str(tmp_path / "clip.mp4")).find()


def test_a_program_predicts_with_jax_alone(model, tmp_path, capsys):
  pytest.importorskip("flatbuffers")
  flipped = dataclasses.replace(model, inference=Inference(flip=True))
  export.write_program(flipped, tmp_path, platforms=("cpu", "cuda", "tpu"))
  assert "config.eval asks for flip, too" in capsys.readouterr().out
  loader = (tmp_path / export.LOADER).read_text()
  assert len(loader.splitlines()) <= 10
  assert set(re.findall(r"^(?:import|from) (.*)", loader, re.MULTILINE)) == {
    *("json, pathlib", "jax.export")
  }
  names = {"__file__": str(tmp_path / export.LOADER)}
  exec(loader, names)
  for number in (1, 3):
    batch = np.stack([image(seed=seed) for seed in range(number)])
    label, confidence = names["predict"](batch)
    expected = model.predict(batch)
    np.testing.assert_array_equal(label, expected.label)
    np.testing.assert_allclose(confidence, expected.confidence, atol=1e-5)
  about = json.loads((tmp_path / export.ABOUT).read_text())
  assert about["classes"] == list(SPACE.names) and about["image_size"] == [32, 48]
  for settings, sentence in (
    (dict(platforms=("gpu",)), "platforms = 'gpu' is unknown. Known: cpu, cuda"),
    (dict(platforms=()), "platforms = '' is unknown"),
  ):
    with pytest.raises(ValueError, match=sentence):
      export.write_program(model, tmp_path, **settings)
  with pytest.raises(ValueError, match="image_size is missing"):
    export.write_program(dataclasses.replace(model, image_sizes=()), tmp_path)


@pytest.mark.parametrize("encoder", ["dinov2_vits14", "dinov3_vits16"])
def test_a_program_of_a_transformer_takes_any_batch(encoder, model, tmp_path):
  pytest.importorskip("flatbuffers")
  options = catalog.tiny(encoder)
  network = models.build(
    encoder=encoder, decoder="vit_head", num_classes=11, encoder_options=options
  )
  shapes = load_model.abstract_variables(network, (32, 48))
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  vit = dataclasses.replace(model, model=network, variables=zeros)
  program = export.write_program(vit, tmp_path, platforms=("tpu",))
  exported = jax.export.deserialize(bytearray(program.read_bytes()))
  assert [str(array.shape) for array in exported.out_avals] == ["(b, 32, 48)"] * 2


def test_an_imported_checkpoint_predicts(model, tmp_path):
  plain = models.build(encoder="compact", decoder="light", num_classes=11)
  shapes = convert.shapes_of("compact", "light", 11)
  rng = np.random.default_rng(0)
  values = {
    path: rng.normal(0, 0.1, shape.shape).astype(np.float32) ** 2
    for path, shape in traverse_util.flatten_dict(shapes).items()
  }
  weights.save(traverse_util.unflatten_dict(values), tmp_path / "theirs.safetensors")
  classes = imported_model.find_classes("", 11)
  assert classes is SPACE and imported_model.find_classes("", 3).names == ("0", "1", "2")
  describe = functools.partial(
    imported_model.texts,
    encoder="compact",
    decoder="light",
    classes=classes,
    image_size=(32, 64),
    network="student",
  )
  written, _ = convert.convert(
    tmp_path / "theirs.safetensors",
    tmp_path / "weights",
    encoder="compact",
    decoder="light",
    num_classes=11,
    describe=describe,
  )
  loaded = load_model.load(written)
  assert loaded.classes.names == SPACE.names and loaded.image_bound == (32, 64)
  assert loaded(image(40, 80)).label.shape == (40, 80)
  assert type(loaded.model) is type(plain)
  with pytest.raises(ValueError, match="classes = 'synthia16' are 16, but .* --num_classes=11"):
    imported_model.find_classes("synthia16", 11)
  hrda = json.loads(describe({"class_attention": True, "crop_size": (64, 64)})[model_text.KEY])
  assert hrda["model"]["hrda"] == {"class_attention": True, "crop_size": [512, 512]}
  assert hrda["evaluation"]["window"] == [1024, 1024]
  assert imported_model.texts(None, **(describe.keywords | dict(decoder=""))) == {}
