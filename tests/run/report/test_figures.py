"""The figures of a run, and what is in them."""

import types

import jax
import numpy as np
import PIL.Image
import pytest
import tiny_recipe

from jax_uda.memory import ClassStatistics
from jax_uda.objectives._class_contrast import ClassMemory
from jax_uda.run import experiment
from jax_uda.run.report import embeddings, figures, prototypes, views
from jax_uda.step.context import View


@pytest.fixture(scope="module")
def make(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("data")

  def build(name, projection="pca", **settings):
    config = tiny_recipe.get_config(f"data_dir={data_dir}")
    config.method = dict(name=name, **settings)
    config.projection = projection
    exp = experiment.build(config)
    return exp, exp.initial_state()

  return build


def view(weight, value=0.0):
  weight = np.asarray(weight, np.float32)[None]
  image = np.full((*weight.shape, 3), value, np.float32)
  return View(image, np.zeros(weight.shape, np.int32), weight)


def test_all_views_of_a_step_are_shown_and_the_cutmix_box_is_drawn(make):
  exp, state = make("rccr")
  batch, _ = figures.validation_batch(exp)
  assert "label" not in batch["target"]
  snapshot = figures.step_views(exp.learner, state, batch)
  shown = snapshot.views
  assert list(shown) == ["source", "target", "mixed", "cutmix"] and not snapshot.crops
  columns, names = views.columns(shown, snapshot.crops)
  assert names == list(shown)
  assert list(columns)[:4] == ["image 1", "label 1", "weight 1", "image 2"]
  pink = (np.array(columns["image 1"][3]) == views.BOX_COLOR).all(-1)
  inside = shown["cutmix"].weight[0] > 0
  rows, cells = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
  assert pink[rows[0], cells[0] : cells[-1] + 1].all() and pink[rows[-1], cells[-1]]
  assert not pink[~inside].any()


def test_pictures_of_hrda_have_whole_cells_of_its_half_resolution():
  example = {"image": np.zeros((64, 96, 3), np.uint8), "label": np.zeros((64, 96), np.uint8)}
  exp = types.SimpleNamespace(
    domains=types.SimpleNamespace(
      source_val=[example], target_val=[example], target_train=types.SimpleNamespace(fields=())
    ),
    settings=types.SimpleNamespace(
      figures=types.SimpleNamespace(panel_images=1), data=types.SimpleNamespace(pseudo_labels=False)
    ),
    learner=types.SimpleNamespace(
      model=types.SimpleNamespace(crop_size=(32, 32)), canvas=lambda _, size: size
    ),
    abstract_state=lambda: types.SimpleNamespace(variables=lambda _: None),
  )
  batch, truth = figures.validation_batch(exp)
  assert batch["source"]["image"].shape == (1, 64, 64, 3) and truth.shape == (1, 64, 64)
  exp.learner.model = types.SimpleNamespace()
  assert figures.validation_batch(exp)[1].shape == (1, 64, 96)


def test_a_box_is_a_filled_rectangle_that_is_not_the_whole_image():
  weight = np.zeros((8, 10))
  assert views.rectangle(weight) is None and views.rectangle(weight + 1) is None
  weight[2:5, 3:9] = 0.5
  assert views.rectangle(weight).tolist() == [2, 5, 3, 9]
  weight[3, 4] = 0
  assert views.rectangle(weight) is None


def test_equal_views_share_a_row_and_detail_crops_are_drawn():
  shown = {"source": view(np.ones((8, 8))), "raw": view(np.ones((8, 8)), 1.0)}
  shown["translated"] = view(np.ones((8, 8)))
  columns, names = views.columns(shown, {"raw": np.array([[0, 4, 2, 6]])})
  assert names == ["source = translated", "raw"]
  pink = [(image == views.BOX_COLOR).all(-1).sum() for image in columns["image 1"]]
  assert pink == [0, 12]


def test_embeddings_are_even_by_class_and_never_chosen_by_target_labels(make):
  exp, state = make("sepico", crop_target=False, embedding_dim=24)
  sample = figures._embeddings(exp, state)
  target = sample["target"]
  assert target.any() and not target.all()
  np.testing.assert_allclose(np.linalg.norm(sample["embedding"], axis=1), 1, rtol=1e-5)
  assert sample["embedding"].shape[1] == 24  # of the projection head
  for labels in (sample["prediction"][target], sample["label"][~target]):
    assert np.bincount(labels).max() <= embeddings.PER_CLASS and labels.max() < 11


def test_principal_components_keep_what_varies_most():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(200, 2)) * (5, 2)
  basis = np.linalg.qr(rng.normal(size=(16, 2)))[0]
  flat = embeddings.to_plane(hidden @ basis.T + 3, "pca")
  distance = lambda x: np.linalg.norm(x[:, None] - x, axis=-1)
  np.testing.assert_allclose(distance(flat), distance(hidden), rtol=1e-6, atol=1e-6)


def test_similarities_are_kept_by_step_and_later_ones_dropped(tmp_path):
  statistics = lambda mean: ClassStatistics(mean, mean, np.ones(3))
  state = {"contrast": ClassMemory(statistics(np.array([[3.0, 0], [2, 2], [0, 0]])), None)}
  for step in (2, 4, 6, 4):
    prototypes.add(tmp_path, step, state | {"mixed": ()})
  found = prototypes.read(tmp_path)
  assert list(found) == ["contrast"] and list(found["contrast"]) == [2, 4]
  half = np.sqrt(0.5)
  expected = [[1, half, np.nan], [half, 1, np.nan], [np.nan] * 3]
  np.testing.assert_allclose(found["contrast"][4], expected, rtol=1e-6)
  prototypes.add(tmp_path / "none", 2, {"source": ()})
  assert not prototypes.read(tmp_path / "none")


def test_a_run_ends_with_its_pictures(make, tmp_path):
  pytest.importorskip("matplotlib")
  exp, state = make("spcl", feature_dim=48)
  figures.keep_first_embeddings(exp, state, tmp_path)
  figures.draw_views(exp, state, tmp_path)
  changed = jax.tree.map(lambda x: x + 1, state.objective_state)
  later = state.replace(step=state.step + 5, objective_state=changed)
  figures.draw_at_end(exp, later, tmp_path)
  for name in ("panels", "views", "views_000000", "projection", "prototypes"):
    assert PIL.Image.open(tmp_path / f"{name}.png").width > 400, name


def test_an_unknown_projection_is_an_error(make):
  with pytest.raises(ValueError, match="config.projection = 'umap'"):
    make("dacs", projection="umap")
