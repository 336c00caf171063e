"""The report of a run: what it says, and that it says it in one file."""

import html
import re

import numpy as np
import pytest
from finished_runs import SPACE, label, write, write_both

from jax_uda.run.report import examples
from jax_uda.run.report.page import content, pictures, render

pytestmark = pytest.mark.fast
pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "pair"
  write_both(folder)
  return folder


@pytest.fixture(scope="module")
def page(workdir) -> str:
  return render.write(workdir, command="python main.py --config=x").read_text()


def test_it_begins_with_the_result_in_a_sentence(workdir, page):
  shown = content.read(workdir)
  before, after = (run.scores()["miou"] for run in (shown.before, shown.after))
  sentence = (
    f"adapted has a mIoU of {100 * after:.1f} % on the target after 20 steps, "
    f"{100 * (after - before):+.1f} compared with source_only ({100 * before:.1f} %)."
  )
  assert after > before and sentence in html.unescape(page)


def test_it_loads_nothing(page):
  tags = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
  assert not re.search(r"""(src|href)=["'](?!data:|#)""", tags)


def test_names_of_files_are_text_and_no_tags(page):
  assert "&lt;0&gt;.png" in page and "<0>.png" not in page


def test_the_stages_to_compare_can_be_chosen(workdir):
  shown = content.read(workdir, compared=("adapted", "source_only"))
  assert (shown.before.name, shown.after.name) == ("adapted", "source_only")


def test_a_run_that_goes_on_has_a_page_that_loads_itself_again(tmp_path):
  write(tmp_path / "run", wrong=0.2)
  for name in ("results.json", "confusion.npz", "examples.npz"):
    (tmp_path / "run" / name).unlink()
  with (tmp_path / "run" / "metrics.jsonl").open("a") as lines:
    lines.write('{"step": 30, "lo')  # being written
  page = render.write(tmp_path / "run", watched=True).read_text()
  assert "run goes on: step 20 of 20." in page and 'http-equiv="refresh"' in page


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no run in"):
    render.write(tmp_path)


def test_the_table_of_classes_counts_as_its_definitions():
  counts = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
  first, second, absent = render.class_table(counts, ("a", "b", "c"))
  assert first["iou"] == 6 / 9 and first["f1"] == 12 / 15
  assert (first["precision"], first["recall"]) == (6 / 7, 6 / 8)
  assert second["share"] == 4 / 12
  assert all(absent[name] is None for name in ("iou", "f1", "precision", "recall"))


def test_errors_are_red_and_pixels_without_a_label_dark():
  image = np.full((1, 3, 3), 255, np.uint8)
  drawn = pictures.errors(image, np.array([[0, 1, 2]]), np.array([[0, 0, 255]]))
  assert drawn[0, 0].tolist() == list(pictures.RIGHT) and drawn[0, 1].tolist() == list(
    pictures.WRONG
  )
  assert drawn[0, 2].tolist() == [40] * 3


def test_examples_come_back_as_they_were_kept_and_large_ones_smaller(tmp_path):
  small = examples.Example(
    "a", np.zeros((4, 6, 3), np.uint8), label(0)[:4, :6], {"teacher": label(1)[:4, :6]}
  )
  large = examples.Example(
    "b", np.zeros((500, 1920, 3), np.uint8), np.zeros((500, 1920), np.uint8), {}
  )
  examples.write(tmp_path, [small, large])
  one, two = examples.read(tmp_path)
  np.testing.assert_array_equal(one.predictions["teacher"], small.predictions["teacher"])
  assert one.name == "a" and two.image.shape == (250, 960, 3) and two.truth.shape == (250, 960)


def test_every_class_is_in_the_page(page):
  assert all(name in page for name in SPACE.names)
