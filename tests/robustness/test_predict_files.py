"""What people give as `--images`: files, folders, patterns, lists; and files that cannot be read."""

import types

import numpy as np
import PIL.Image
import pytest
from robustness.table import Case, check, parametrize

from jax_uda.data import label_spaces
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run import image_list, image_prediction, predict, prediction_writer
from jax_uda.step.inference import Inference, Prediction

pytestmark = pytest.mark.fast
SPACE = LabelSpace("fields", ("soil", "crop"), np.array([[90, 60, 30], [0, 160, 0]], np.uint8), {})


def put(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_files.encode_png(np.zeros((8, 8, 3), np.uint8)))


def names(text, *files, lines=None, suffix="", is_flat=False):
  """Writes files, and perhaps a list; the names of the predictions of `text`, FOLDER being the folder."""

  def read(folder):
    put(folder, *files)
    if lines is not None:
      (folder / "list.txt").write_text("\n".join(lines).replace("FOLDER", str(folder)))
    given_text = text.replace("FOLDER", str(folder))
    return [image.name for image in image_list.find(given_text, suffix, is_flat=is_flat)]

  return read


TWO = ("a/1.png", "a/2.png")
SAME = ("day/1.png", "night/1.png", "night/deep/2.png")


@parametrize(
  Case("one file", names("FOLDER/a/1.png", *TWO), ["1"]),
  Case("two files", names("FOLDER/a/2.png, FOLDER/a/1.png", *TWO), ["2", "1"]),
  Case("a folder", names("FOLDER/a", *TWO), ["1", "2"]),
  Case("folders below it", names("FOLDER", *TWO, "b/c/3.png"), ["1", "2", "3"]),
  Case("a pattern of files", names("FOLDER/a/*.png", *TWO, "a/3.txt"), ["1", "2"]),
  Case("a pattern of folders", names("FOLDER/*/test", "a/test/1.png", "b/test/2.png"), ["1", "2"]),
  Case("a pattern below", names("FOLDER/**/1.png", *TWO, "b/c/1x.png"), ["1"]),
  Case("a file named twice", names("FOLDER/a,FOLDER/a/1.png", *TWO), ["1", "2"]),
  Case("an end of the stems", names("FOLDER", "1_rgb.png", "1_gt.png", suffix="_rgb"), ["1_rgb"]),
  Case("equal names in folders", names("FOLDER", *SAME), ["day/1", "night/1", "night/deep/2"]),
  Case("equal names in two folders", names("FOLDER/day,FOLDER/night", *SAME),
       ["day/1", "night/1", "night/deep/2"]),
  Case("equal names for a server", names("FOLDER", *SAME, is_flat=True),
       sentence="day/1.png and .*night/1.png would have the same prediction file 1.png"),
  Case("equal names but for the ending", names("FOLDER/1.png,FOLDER/1.jpg", "1.png", "1.jpg"),
       sentence="1.png and .*1.jpg have one name but for their endings"),
  Case("a comma in a folder's name", names("FOLDER/a,b", "a,b/1.png", "a,c/2.png"), ["1"]),
  Case("commas in and between names", names("FOLDER/a,b,FOLDER/c", "a,b/1.png", "c/2.png"), ["1", "2"]),
  Case("brackets in a folder's name", names("FOLDER/[a]", "[a]/1.png", "a/2.png"), ["1"]),
  Case("a name of 255 bytes", names("FOLDER", "x" * 251 + ".png"), ["x" * 251]),
  Case("a list", names("@FOLDER/list.txt", *TWO, lines=["# mine", "FOLDER/a/2.png", "", "FOLDER/a"]),
       ["2", "1"]),
  Case("a list beside its files", names("FOLDER/list.txt", *TWO, lines=["a/2.png"]), ["2"]),
  Case("a list with commas", names("FOLDER/list.txt", "a,b.png", lines=["a,b.png"]), ["a,b"]),
  Case("a list with a gap", names("@FOLDER/list.txt", lines=["nowhere.png"]),
       sentence="--images=nowhere.png: there is no such file or folder"),
  Case("a list that is missing", names("@FOLDER/none.txt"), sentence="@.*none.txt cannot be read"),
  Case("an empty list", names("@FOLDER/list.txt", lines=[]), sentence="no image whose name ends"),
  Case("nothing", names("FOLDER/nowhere"), sentence="nowhere: there is no such file or folder"),
  Case("one of two is missing", names("FOLDER/a,FOLDER/c", *TWO), sentence="c: there is no such file"),
  Case("a folder without images", names("FOLDER/a", "a/1.txt"), sentence="no image whose name ends"),
)  # fmt: skip
def test_images_are_named_as_people_do(case, tmp_path):
  check(case, tmp_path)


def brightest(images, size):
  """Class 1 where red is above 127."""
  label = (images[..., 0] > 127).astype(np.uint8)
  rows, columns = (np.arange(m) * n // m for n, m in zip(images.shape[1:3], size, strict=True))
  label = label[:, rows][:, :, columns]
  return Prediction(label, np.ones(label.shape, np.float32))


def writer(**settings):
  ids = np.arange(2, dtype=np.uint8)
  defaults = dict(predict=brightest, ids=ids, bound=None, batch_size=2, title="test")
  return prediction_writer.PredictionWriter(**(defaults | settings))


def test_an_unreadable_file_is_passed_over_and_named(tmp_path):
  put(tmp_path / "in", *(f"{index}.png" for index in range(5)))
  (tmp_path / "in" / "1.png").write_bytes(b"")
  (tmp_path / "in" / "3.png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:40])
  one = writer()
  one.write(image_list.find(str(tmp_path / "in")), tmp_path / "out")
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "4.png"]
  assert [text.split(" cannot")[0] for text in one.problems] == [
    f"{tmp_path}/in/1.png",
    f"{tmp_path}/in/3.png",
  ]


def test_the_error_comes_behind_all_predictions_and_counts(tmp_path, monkeypatch):
  put(tmp_path / "in", "0.png", "1.png")
  (tmp_path / "in" / "0.png").write_bytes(b"no image")
  learner = types.SimpleNamespace(predict=lambda _, images, __, size: brightest(images, size))
  settings = types.SimpleNamespace(
    evaluation=types.SimpleNamespace(inference=Inference(), batch_size=2)
  )
  domains = types.SimpleNamespace(
    label_space=SPACE, image_bound=None, target_val=[], reading=Reading()
  )
  exp = types.SimpleNamespace(learner=learner, settings=settings, domains=domains)
  state = types.SimpleNamespace(step=3, variables=lambda network: {})
  with pytest.raises(predict.UnreadableImagesError, match=r"1 of 2 images have no .*in/0\.png"):
    predict.write(exp, state, tmp_path, images=str(tmp_path / "in"))
  written = PIL.Image.open(tmp_path / "predictions" / "student" / "1.png")
  assert written.mode == "P" and written.getpalette()[:6] == [90, 60, 30, 0, 160, 0]


def test_predictions_lie_as_their_images_do_and_names_may_be_long(tmp_path):
  long = "ü" * 125  # 250 bytes
  put(tmp_path / "in", "a/1.png", "b/1.png", f"b/{long}.png")
  writer().write(image_list.find(str(tmp_path / "in")), tmp_path / "out")
  paths = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
  assert paths == {"a/1.png", "b/1.png", f"b/{long}.png"}


def test_a_png_shows_colors_and_holds_ids(tmp_path):
  ids = np.array([7, 11], np.uint8)
  label = np.array([[0, 1, 1]])
  data = image_prediction.encode(ids[label], image_prediction.palette_of(SPACE, ids))
  (tmp_path / "label.png").write_bytes(data)
  picture = PIL.Image.open(tmp_path / "label.png")
  np.testing.assert_array_equal(picture, [[7, 11, 11]])
  np.testing.assert_array_equal(picture.convert("RGB"), SPACE.palette[label])
  values = image_files.read_values(tmp_path / "label.png")
  np.testing.assert_array_equal(values, [[7, 11, 11]])
  server = image_prediction.encode(ids[label], None)
  (tmp_path / "server.png").write_bytes(server)
  assert PIL.Image.open(tmp_path / "server.png").mode == "L", "as servers want it"


def test_another_scale_and_large_images_are_said(tmp_path, capsys):
  put(tmp_path / "in", "small.png")
  large = np.zeros((80, 90, 3), np.uint8)
  (tmp_path / "in" / "large.png").write_bytes(image_files.encode_png(large))
  one = writer(usual_sizes=[(8, 8), (10, 12)], inference=Inference(whole_pixels=64**2))
  one.write(image_list.find(str(tmp_path / "in")), tmp_path / "out")
  said = capsys.readouterr().out
  assert "large.png of 80x90 is predicted in tiles of 64x64 pixels" in said
  assert "1 images have another scale than those on which the network was scored, e.g." in said
  assert "those have 8x8 to 10x12 pixels" in said
  one = writer(usual_sizes=[(8, 8)], bound=(8, 8))
  one.write(image_list.find(str(tmp_path / "in")), tmp_path / "out")
  assert not capsys.readouterr().out, "images are fitted as the validation images were"


def test_ids_of_known_classes_keep_their_colors():
  ids = predict.written_ids(label_spaces.CITYSCAPES19, "cityscapes")
  palette = np.frombuffer(
    image_prediction.palette_of(label_spaces.CITYSCAPES19, ids), np.uint8
  ).reshape(256, 3)
  np.testing.assert_array_equal(palette[7], (128, 64, 128))  # road
