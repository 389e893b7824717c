"""The demo's chart: the price, the production versions, and each feature's drift by quarter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from modelward.shared.figures import score

INK, FAINT, ALARM = "#1f2933", "#7b8794", "#b3261e"
PERIOD_COLOURS = ("#eef1f5", "#faf2e2")
"""Alternating background colours of the production versions."""
THRESHOLD = 0.5
"""The drift score at a feature's threshold."""
PALE, DARK = (0.03, 0.4), (0.74, 1.0)
"""Ranges of the blue colour map below and above the threshold: the jump marks the threshold, and skips the blues on
which neither dark nor white text is readable. Only lightness differs, so colour vision does not matter.
"""


@dataclass(frozen=True)
class QuarterOfDrift:
    """The drift result of one quarter."""

    name: str
    """For example `2008 Q3`."""
    first: pd.Timestamp
    last: pd.Timestamp
    scores: Mapping[str, float]
    """The drift score of each feature, from 0 to 1; 0.5 at its threshold."""
    drifted: Sequence[str]
    """The features whose drift counts."""
    detected: bool
    """Whether drift of the data as a whole was detected."""


@dataclass(frozen=True)
class ProductionPeriod:
    """The period of a version in production."""

    label: str
    first: pd.Timestamp
    last: pd.Timestamp


def draw(path: Path, close: pd.Series, quarters: Sequence[QuarterOfDrift], periods: Sequence[ProductionPeriod]) -> None:
    """Draw the chart to a PNG file.

    Args:
        close: the price by day, over the period of the quarters.
        quarters: in order.
        periods: the production versions, in order.
    """
    figure = Figure(figsize=(13, 7.6), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.1))
    FigureCanvasAgg(figure)
    price, drift = figure.subplots(2, 1, height_ratios=[1, 1.15])
    _draw_price(price, close, quarters, periods)
    cells = _draw_drift(drift, quarters)
    bar = figure.colorbar(cells, ax=drift, pad=0.01, aspect=18, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.outline.set_visible(False)
    bar.set_label("drift score; 0.5 is the threshold", color=FAINT, fontsize=9)
    bar.ax.tick_params(color=FAINT, labelcolor=FAINT, labelsize=9)
    figure.savefig(path, dpi=144, facecolor="white")


def _draw_price(
    axes: Any, close: pd.Series, quarters: Sequence[QuarterOfDrift], periods: Sequence[ProductionPeriod]
) -> None:
    at = _axis_positions(close.index, quarters)
    axes.plot(at, close, color=INK, linewidth=1.3)
    axes.set_ylim(close.min() * 0.93, close.max() * 1.16)
    for number, period in enumerate(periods):
        start, end = _axis_positions(pd.DatetimeIndex([period.first, period.last]), quarters)
        axes.axvspan(start, end, color=PERIOD_COLOURS[number % 2], linewidth=0, zorder=0)
        axes.text(start + 0.08, close.max() * 1.14, period.label, va="top", color=INK, fontsize=9.5)
        if number:
            axes.axvline(start, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(0, len(quarters))
    axes.set_xticks([])
    axes.set_title(
        "S&P 500, and the model version in production", loc="left", color=INK, fontsize=12, weight="bold", pad=8
    )
    axes.grid(axis="y", color="white", linewidth=1)
    axes.set_axisbelow(True)
    _plain(axes)


def _draw_drift(axes: Any, quarters: Sequence[QuarterOfDrift]) -> Any:
    features = list(quarters[0].scores)
    table = np.array([[quarter.scores[name] for quarter in quarters] for name in features])
    cells = axes.pcolormesh(table, cmap=_drift_colours(), vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for (row, column), value in np.ndenumerate(table):
        counts = features[row] in quarters[column].drifted
        colour, weight = "white" if value >= THRESHOLD else INK, "bold" if counts else "normal"
        text = score(value) + (" ▲" if counts else "")
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, weight=weight, fontsize=9)
    axes.set_yticks(np.arange(len(features)) + 0.5, [name.replace("_", " ") for name in features], fontsize=10)
    axes.invert_yaxis()
    _plain(axes)
    _name_quarters(axes, quarters)
    title = "Drift of each feature from the version's training data   (dark: above the threshold; ▲: significant)"
    axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold", pad=8)
    return cells


def _drift_colours() -> ListedColormap:
    shades = np.concatenate([np.linspace(*PALE, 128), np.linspace(*DARK, 128)])
    return ListedColormap(colormaps["Blues"](shades))


def _name_quarters(axes: Any, quarters: Sequence[QuarterOfDrift]) -> None:
    names = [quarter.name.replace(" ", "\n") + ("\nDRIFT" if quarter.detected else "\n") for quarter in quarters]
    axes.set_xticks(np.arange(len(quarters)) + 0.5, names, fontsize=9.5)
    for label, quarter in zip(axes.get_xticklabels(), quarters, strict=True):
        if quarter.detected:
            label.set_color(ALARM)
            label.set_weight("bold")


def _axis_positions(days: Any, quarters: Sequence[QuarterOfDrift]) -> Any:
    """Map days to the axis of the quarters, each of which has width one, to align price and drift."""
    edges = pd.DatetimeIndex([quarters[0].first, *(quarter.last for quarter in quarters)])
    return np.interp(days.asi8, edges.asi8, np.arange(len(quarters) + 1.0))


def _plain(axes: Any) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, colors=INK)
