import zipfile

import numpy as np
import PIL.Image
import pytest
import tiny_recipe

from jax_uda.data import label_spaces
from jax_uda.data.datasets import image_files
from jax_uda.data.pipeline import rescale
from jax_uda.run import experiment, image_list, predict, submission


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("data")
  config = tiny_recipe.get_config(f"data_dir={data_dir},method=source_only")
  config.eval.batch_size = 2
  return experiment.build(config)


@pytest.fixture
def images(tmp_path):
  rng = np.random.default_rng(0)
  for name, size in (("b/2", (64, 96)), ("a/1", (64, 96)), ("a/3", (32, 96))):
    file = tmp_path / "test" / f"{name}_rgb_anon.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(image_files.encode_png(rng.integers(0, 256, (*size, 3), np.uint8)))
  (tmp_path / "test" / "a" / "1_depth.png").write_bytes(b"not asked for")
  return tmp_path / "test"


def test_each_image_has_a_file_of_class_ids_at_its_own_size(exp, images, tmp_path, capsys):
  state = exp.initial_state()
  folder = predict.write(exp, state, tmp_path, images=str(images), suffix="_rgb_anon")
  assert folder == tmp_path / "predictions" / "student"
  found = {file.name: PIL.Image.open(file) for file in folder.glob("*.png")}
  assert {name: image.size for name, image in found.items()} == {
    "1_rgb_anon.png": (96, 64),
    "2_rgb_anon.png": (96, 64),
    "3_rgb_anon.png": (96, 32),
  }
  image = image_files.read_image(images / "b" / "2_rgb_anon.png")
  fitted = rescale.fit(image, exp.domains.image_bound)
  assert fitted.shape == (32, 48, 3), "as the streets are prepared"
  pair = np.repeat(fitted[None], 2, 0)
  expected = exp.learner.predict(state.student, pair, size=(64, 96)).label[0]
  np.testing.assert_array_equal(np.array(found["2_rgb_anon.png"]), expected)
  assert found["2_rgb_anon.png"].mode == "P", "the values are ids, and a viewer shows colors"
  colors = np.array(found["2_rgb_anon.png"].convert("RGB"))
  np.testing.assert_array_equal(colors, exp.domains.label_space.palette[expected])
  assert "3 predictions of 0 steps" in capsys.readouterr().out


def test_label_ids_of_cityscapes_are_written_on_demand():
  ids = predict.written_ids(label_spaces.CITYSCAPES19, "cityscapes")
  assert ids.tolist()[:3] == [7, 8, 11] and ids[18] == 33
  assert (label_spaces.CITYSCAPES_IDS[ids] == np.arange(19)).all()
  with pytest.raises(ValueError, match="needs the 19 Cityscapes classes, not CamVid"):
    predict.written_ids(label_spaces.CAMVID11, "cityscapes")


def _write_grey(value, images):
  def write(folder):
    folder.mkdir(parents=True)
    for image in images:
      size = PIL.Image.open(image.file).size
      (folder / f"{image.name}.png").write_bytes(
        image_files.encode_png(np.full(size[::-1], value, np.uint8))
      )

  return write


@pytest.mark.parametrize("name", submission.SERVERS)
def test_a_server_gets_a_zip_of_all_predictions_and_each_call_a_folder(images, tmp_path, name):
  files = image_list.find(str(images), "_rgb_anon", is_flat=True)
  server = submission.find(name, label_spaces.CITYSCAPES19)
  wanted = tmp_path / "predictions" / name
  folders = [submission.write(wanted, server, files, _write_grey(v, files)) for v in (1, 2, 3)]
  assert [folder.name for folder in folders] == [name, f"{name}-2", f"{name}-3"]
  assert sorted(wanted.parent.iterdir()) == sorted(folders), "nothing half written is left"
  with zipfile.ZipFile(folders[1] / submission.ZIP) as archive:
    found = archive.namelist()
    inner = "labelTrainIds/" if name == "dark_zurich" else ""
    stored = archive.read(f"{inner}1_rgb_anon.png")
  assert stored == (folders[1] / "1_rgb_anon.png").read_bytes()
  assert stored == image_files.encode_png(np.full((64, 96), 2, np.uint8))
  assert len(found) == (9 if name == "dark_zurich" else 3)
  assert {name.rpartition("/")[0] for name in found} == (
    {"labelTrainIds", "labelTrainIds_invalid", "confidence"} if name == "dark_zurich" else {""}
  )


def test_predictions_that_are_missing_or_of_another_size_are_not_handed_in(images, tmp_path):
  files = image_list.find(str(images), "_rgb_anon", is_flat=True)
  server = submission.SERVERS["acdc"]
  with pytest.raises(ValueError, match=r"b/2_rgb_anon\.png has no prediction 2_rgb_anon\.png"):
    submission.write(tmp_path / "out" / "acdc", server, files, _write_grey(1, files[:-1]))

  def other_size(folder):
    _write_grey(1, files)(folder)
    (folder / "2_rgb_anon.png").write_bytes(image_files.encode_png(np.zeros((64, 95), np.uint8)))

  with pytest.raises(ValueError, match=r"2_rgb_anon\.png has size \(64, 95\), not \(64, 96\)"):
    submission.write(tmp_path / "out" / "acdc", server, files, other_size)
  assert not list((tmp_path / "out").iterdir())


def test_a_server_is_given_its_ids(exp, images, tmp_path, monkeypatch, capsys):
  with pytest.raises(ValueError, match="--server=acdc needs the 19 Cityscapes classes, not"):
    predict.write(exp, exp.initial_state(), tmp_path, images=str(images), server="acdc")
  monkeypatch.setattr(submission, "find", lambda name, space: submission.SERVERS["acdc"])
  state = exp.initial_state()
  folder = predict.write(
    exp, state, tmp_path, images=str(images), suffix="_rgb_anon", server="acdc"
  )
  assert folder == tmp_path / "predictions" / "acdc-student-0"
  assert len(list(folder.glob("*.png"))) == 3 and (folder / submission.ZIP).is_file()
  assert len(list(folder.iterdir())) == 4
  assert "note: the test set of acdc has 2000 images, not 3" in capsys.readouterr().out
