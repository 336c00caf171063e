"""The pictures of a run: what the method sees, what the networks predict, and how they embed it."""

import pathlib
from collections.abc import Callable

import cv2

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.run import experiment
from jax_uda.run.report import embeddings, panels, projection, similarity
from jax_uda.run.report import prototypes as prototype_log
from jax_uda.run.report import views as pictures
from jax_uda.run.report.writer import MetricWriter
from jax_uda.step.state import TrainState

PROJECTIONS = {"": False, "pca": True, "tsne": True}
START = "projection_start.npz"  # the embeddings before training


def wants_projection(exp: experiment.Experiment) -> bool:
  """Whether the config asks for a projection; ValueError for an unknown one."""
  return registry.lookup(PROJECTIONS, exp.config.projection, "projection")


def start(exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path) -> None:
  """Keeps the embeddings before training, for the projection."""
  if wants_projection(exp):
    found = embeddings.sample(exp, state)  # runs the network: on every process
    if mesh_lib.is_main_process():
      embeddings.save(workdir / START, found)


def evaluated(state: TrainState, workdir: pathlib.Path) -> None:
  """Notes how similar the prototypes are; at every evaluation."""
  if mesh_lib.is_main_process():
    prototype_log.add(workdir, int(state.step), state.objective)


def midway(
  exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None
) -> None:
  """Draws the views as they are now, `views_<step>.png`."""
  batch, _ = pictures.validation_batch(exp)
  found = pictures.view_columns(exp, *pictures.views_of(exp, state, batch))
  if mesh_lib.is_main_process():
    path = workdir / f"views_{int(state.step):06d}.png"
    _show(path, writer, int(state.step), "views", lambda: _draw_views(exp, state, path, found))


def end(
  exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None
) -> None:
  """Draws `panels.png`, `views.png`, and where there is something to show `projection.png`, `prototypes.png`."""
  batch, ground_truth = pictures.validation_batch(exp)
  views, boxes = pictures.views_of(exp, state, batch)
  columns = pictures.panel_columns(exp, state, batch, views, ground_truth)
  sample = embeddings.sample(exp, state) if wants_projection(exp) else None
  evaluated(state, workdir)
  if not mesh_lib.is_main_process():  # all of the above runs on every process
    return
  space, step = exp.domains.label_space, int(state.step)
  title = f"{exp.title}, step {step}"
  show = lambda name, draw: _show(workdir / f"{name}.png", writer, step, name, draw)
  path_of = lambda name: workdir / f"{name}.png"
  show("panels", lambda: panels.draw(path_of("panels"), columns, space, title=title))
  found = pictures.view_columns(exp, views, boxes)
  show("views", lambda: _draw_views(exp, state, path_of("views"), found))
  if sample:
    rows = {f"step {step}": sample}
    if (workdir / START).exists():
      rows = {"before training": embeddings.load(workdir / START)} | rows
    show("projection", lambda: _draw_projection(exp, path_of("projection"), rows, title))
  prototypes = prototype_log.read(workdir)
  if prototypes:
    text = f"{title}: similarity of the prototypes"
    draw = lambda: similarity.draw(path_of("prototypes"), prototypes, space.names, title=text)
    show("prototypes", draw)


def _draw_views(exp, state, path, found) -> None:
  columns, row_names = found
  title = f"views of {exp.title}, step {int(state.step)}"
  panels.draw(path, columns, exp.domains.label_space, title=title, row_names=row_names)


def _draw_projection(exp, path, rows, title) -> None:
  how = exp.config.projection
  rows = {
    name: found | {"plane": embeddings.to_plane(found["embedding"], how)}
    for name, found in rows.items()
  }
  text = f"{title}: embeddings of validation pixels, {'PCA' if how == 'pca' else 't-SNE'}"
  projection.draw(path, rows, exp.domains.label_space, title=text)


def _show(
  path: pathlib.Path,
  writer: MetricWriter | None,
  step: int,
  name: str,
  draw: Callable[[], None],
) -> None:
  """Draws, says where, and hands the picture to the writer; without the package it says so."""
  try:
    draw()
  except ImportError as error:
    print(f"no {path.name}: {error}", flush=True)
    return
  print(f"picture: {path}", flush=True)
  if writer:
    writer.write_image(step, name, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
