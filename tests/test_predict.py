import numpy as np
import PIL.Image
import pytest
import tiny_recipe

from jax_uda import experiment, predict
from jax_uda.data import label_spaces, png


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
    file.write_bytes(png.encode(rng.integers(0, 256, (*size, 3), np.uint8)))
  (tmp_path / "test" / "a" / "1_depth.png").write_bytes(b"not asked for")
  return tmp_path / "test"


def test_each_image_has_a_file_of_class_ids_at_its_own_size(exp, images, tmp_path, capsys):
  state = exp.initial_state()
  folder = predict.write(exp, state, tmp_path, images=images, suffix="_rgb_anon")
  assert folder == tmp_path / "predictions" / "student"
  found = {file.name: PIL.Image.open(file) for file in folder.iterdir()}
  assert {name: image.size for name, image in found.items()} == {
    "1_rgb_anon.png": (96, 64),
    "2_rgb_anon.png": (96, 64),
    "3_rgb_anon.png": (96, 32),
  }
  fitted = predict.ImageFiles([images / "b" / "2_rgb_anon.png"], (32, 48))[0]["image"]
  assert fitted.shape == (32, 48, 3)
  tall = predict.ImageFiles([images / "a" / "3_rgb_anon.png"], (16, 40))[0]["image"]
  assert tall.shape == (16, 40, 3), "13x40 up to multiples of 8"
  expected = exp.predict(state.student, np.repeat(fitted[None], 2, 0), (64, 96))[0]
  np.testing.assert_array_equal(np.array(found["2_rgb_anon.png"]), expected)
  assert (
    found["2_rgb_anon.png"].mode == "L" and "3 predictions of 0 steps" in capsys.readouterr().out
  )


def test_label_ids_of_cityscapes_are_written_on_demand():
  ids = predict.written_ids(label_spaces.CITYSCAPES19, "cityscapes")
  assert ids.tolist()[:3] == [7, 8, 11] and ids[18] == 33
  assert (label_spaces.CITYSCAPES_IDS[ids] == np.arange(19)).all()
  with pytest.raises(ValueError, match="needs the 19 Cityscapes classes, not CamVid"):
    predict.written_ids(label_spaces.CAMVID11, "cityscapes")


def test_folders_that_cannot_be_predicted_are_explained(images, tmp_path):
  with pytest.raises(ValueError, match="is no folder"):
    predict.check_images(tmp_path / "nowhere", "")
  with pytest.raises(ValueError, match="no image whose name ends in '_gt'"):
    predict.check_images(images, "_gt")
  (images / "a" / "1_rgb_anon.jpg").write_bytes(b"")
  with pytest.raises(ValueError, match=r"a/1_rgb_anon\.jpg and .*a/1_rgb_anon\.png have one name"):
    predict.check_images(images, "_rgb_anon")
  (images / "a" / "1_rgb_anon.jpg").unlink()
  (images / "b" / "1_rgb_anon.png").write_bytes(b"")
  with pytest.raises(ValueError, match=r"a/1_rgb_anon\.png and .*b/1_rgb_anon\.png would have"):
    predict.check_images(images, "_rgb_anon")
