"""The charts of the page, by Plotly; each is a piece of HTML that needs Plotly's script on the page."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_uda.run.report.page.content import Content, RunContent

BEFORE, AFTER = "#8a94a6", "#2a7de1"  # they are told apart on light and dark pages, and in grey
INK, GRID = "#808893", "rgba(128,136,147,0.25)"
CONFIG = {
  "displaylogo": False,
  "responsive": True,
  "modeBarButtonsToRemove": ["lasso2d", "select2d"],
}


def _graph_objects() -> Any:
  try:
    return importlib.import_module("plotly.graph_objects")
  except ImportError:
    raise ImportError('the report needs plotly: pip install "jax-uda[viz]"') from None


def script() -> str:
  """Plotly's script, for a page that must not load anything."""
  _graph_objects()
  return importlib.import_module("plotly.offline").get_plotlyjs()


def _html(figure: Any, height: int, hover: str = "x unified") -> str:
  figure.update_layout(
    height=height,
    margin=dict(l=8, r=8, t=28, b=8),
    paper_bgcolor="rgba(0,0,0,0)",
    plot_bgcolor="rgba(0,0,0,0)",
    font=dict(family="system-ui, sans-serif", size=13, color=INK),
    legend=dict(orientation="h", yanchor="bottom", y=1.0, x=0),
    hovermode=hover,
  )
  figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
  figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
  return figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)


def iou_bars(content: Content) -> str:
  """IoU of every class before and after, the largest gain first."""
  objects = _graph_objects()
  gains = content.gains
  gain = lambda name: (gains[name][1] or 0) - (gains[name][0] or 0)
  names = sorted(gains, key=gain)  # Plotly draws the first at the bottom
  figure = objects.Figure()
  percent = lambda values: [None if value is None else 100 * value for value in values]
  if content.before:
    figure.add_bar(
      y=names,
      x=percent(gains[name][0] for name in names),
      name=content.before.name,
      orientation="h",
      marker_color=BEFORE,
    )
  figure.add_bar(
    y=names,
    x=percent(gains[name][1] for name in names),
    name=content.after.name,
    orientation="h",
    marker_color=AFTER,
    text=[f"{100 * gain(name):+.1f}" for name in names] if content.before else None,
    textposition="outside",
    cliponaxis=False,
  )
  figure.update_layout(barmode="group", bargap=0.25)
  figure.update_xaxes(title="IoU on the target, %", range=[0, 105])
  return _html(figure, 90 + 34 * len(names), "y unified")


def confusion(counts: np.ndarray, names: Sequence[str]) -> str:
  """Shares of each true class that were predicted as each class."""
  objects = _graph_objects()
  totals = counts.sum(1, keepdims=True)
  shares = 100 * counts / np.maximum(totals, 1)
  figure = objects.Figure(
    objects.Heatmap(
      z=np.where(totals > 0, shares, np.nan),
      x=list(names),
      y=list(names),
      colorscale="Blues",
      zmin=0,
      zmax=100,
      hovertemplate="%{y} predicted as %{x}: %{z:.1f} %<extra></extra>",
      colorbar=dict(title="%", thickness=12),
    )
  )
  figure.update_yaxes(autorange="reversed", title="true class")
  figure.update_xaxes(title="predicted class", tickangle=-45)
  return _html(figure, 140 + 26 * len(names), "closest")


def _chosen(curves: Mapping[str, Any], prefixes: Sequence[str]) -> list[str]:
  return [name for name in curves if any(name == p or name.startswith(f"{p}/") for p in prefixes)]


# Heading of a chart -> the beginnings of the names that it shows, and the title of its axis.
CURVES = {
  "Losses": (("loss",), "loss"),
  "mIoU on the target": (("target_miou",), "%"),
  "Confidence of pseudo-labels": (("weight",), "weight"),
  "Learning rate": (("learning_rate",), ""),
  "Norm of the gradient": (("grad_norm",), ""),
  "Images per second": (("images_per_second",), ""),
}


def curves(run: RunContent) -> dict[str, str]:
  """The charts of a run's logged numbers, by heading; those that have something to show."""
  objects = _graph_objects()
  charts = {}
  values = run.curves
  for heading, (prefixes, axis) in CURVES.items():
    names = _chosen(values, prefixes)
    if not names:
      continue
    figure = objects.Figure()
    for name in names:
      steps, numbers = values[name]
      factor = 100 if axis == "%" else 1
      figure.add_scatter(
        x=steps,
        y=[factor * number for number in numbers],
        name=name.partition("/")[2] or name,
        mode="lines+markers" if len(steps) < 30 else "lines",
      )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=axis, rangemode="tozero")
    figure.update_layout(showlegend=len(names) > 1)
    charts[heading] = _html(figure, 280)
  return charts
