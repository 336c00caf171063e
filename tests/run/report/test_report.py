import sys

import numpy as np
import pytest

from jax_uda.run.report import metric_lines, progress, table, writer

pytestmark = pytest.mark.fast


def scores(iou, miou, **subsets):
  return {"iou": iou, "miou": miou, "subsets": subsets}


COLUMNS = {
  "source_only student": scores({"road": 0.9, "sky": float("nan"), "car": 0.5}, 0.7, things=0.5),
  "dacs teacher": scores({"road": 0.95, "sky": None, "car": 0.25}, 0.6, things=None),
}


def test_the_table_has_a_row_per_class_and_the_means():
  body, means = table.rows(COLUMNS)
  assert body == [
    ["class", "source_only student", "dacs teacher"],
    ["road", "90.0", "95.0"],
    ["sky", "–", "–"],
    ["car", "50.0", "25.0"],
  ]
  assert means == [["mIoU", "70.0", "60.0"], ["mIoU things", "50.0", "–"]]
  assert table.markdown(COLUMNS).splitlines()[-1] == "| mIoU things | 50.0 | – |"
  assert table.markdown(COLUMNS).splitlines()[2] == "| road | 90.0 | 95.0 |"


def test_the_printed_table_fits_80_columns(capsys):
  table.show({f"self_training {n}": COLUMNS["dacs teacher"] for n in ("student", "teacher")}, "IoU")
  out = capsys.readouterr().out
  assert "60.0" in out and max(map(len, out.splitlines())) <= 80


def test_six_networks_fit_80_columns_and_no_name_is_cut_off(capsys):
  runs = ("source_only", "self_training", "feature_distance")
  names = [f"{run} {network}" for run in runs for network in ("student", "teacher")]
  column = scores({"traffic light": 0.1, "vegetation": 0.2}, 0.15)
  table.show({name: column for name in names}, "IoU")
  out = capsys.readouterr().out
  assert max(map(len, out.splitlines())) <= 80 and "…" not in out
  assert "traffic light" in out and "vegetation" in out


def test_the_progress_line_names_step_losses_speed_wait_and_eta():
  means = {"loss": 1.25, "loss/source": 1.0, "loss/mixed": 0.25, "grad_norm": 3.0}
  speed = {"images_per_second": 87.4, "data_wait_fraction": 0.014}
  assert progress.line(50, 1500, means, speed, 3725) == (
    "step   50/1500  loss 1.250 (source 1.000  mixed 0.250)  87 images/s  data wait 1 %  ETA 1h02m"
  )
  assert [progress.duration(s) for s in (4.2, 61, 3600)] == ["4s", "1m01s", "1h00m"]


def read(folder):
  lines = metric_lines.read(folder)
  assert not lines.damaged
  return lines.rows


def test_a_continued_run_drops_rows_after_its_checkpoint_and_a_torn_last_line(tmp_path):
  with writer.MetricWriter(tmp_path) as metrics:
    for step in (10, 20, 30):
      metrics.write_scalars(step, {"loss": step / 10})
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 40, "lo')
  with writer.MetricWriter(tmp_path, resume_step=20) as metrics:
    metrics.write_scalars(30, {"loss": float("nan")})
  assert read(tmp_path) == [
    {"step": 10, "loss": 1.0},
    {"step": 20, "loss": 2.0},
    {"step": 30, "loss": None},
  ]


def test_a_kill_while_the_old_rows_are_rewritten_loses_none(tmp_path, monkeypatch):
  with writer.MetricWriter(tmp_path) as metrics:
    metrics.write_scalars(10, {"loss": 1.0})

  def killed(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr("os.replace", killed)
  with pytest.raises(KeyboardInterrupt):
    writer.MetricWriter(tmp_path, resume_step=10)
  assert read(tmp_path) == [{"step": 10, "loss": 1.0}]


def events(folder):
  """(step, tag, kind of value) of all TensorBoard events below `folder`."""
  from tensorboardX.proto import event_pb2

  found = []
  for path in sorted(folder.glob("events.*")):
    data = path.read_bytes()
    while data:  # a record: uint64 length, its checksum, the event, its checksum
      length = int.from_bytes(data[:8], "little")
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      found += [(event.step, v.tag, v.WhichOneof("value")) for v in event.summary.value]
  return found


def test_scalars_pictures_and_texts_reach_tensorboard(tmp_path):
  pytest.importorskip("tensorboardX")
  with writer.MetricWriter(tmp_path) as metrics:
    metrics.write_scalars(1, {"loss": 1.0})
    metrics.write_image(2, "panels", np.zeros((4, 6, 3), np.uint8))
    metrics.write_text(3, "table", table.markdown(COLUMNS))
  assert events(tmp_path / "tensorboard") == [
    (1, "loss", "simple_value"),
    (2, "panels", "image"),
    (3, "table/text_summary", "tensor"),
  ]


def test_without_tensorboardx_the_json_lines_are_written_all_the_same(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with writer.MetricWriter(tmp_path) as metrics:
    metrics.write_scalars(1, {"loss": 1.0})
    metrics.write_image(1, "panels", np.zeros((4, 6, 3), np.uint8))
    metrics.write_text(1, "table", "")
    assert read(tmp_path) == [{"step": 1, "loss": 1.0}]  # at once, not at the end
