"""Build the profile of reference data, once, when the reference is set."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.kinds import category_labels, is_time
from modelward_server.drift.multivariate import build_joint
from modelward_server.drift.profile import CategoryProfile, Feature, NumberProfile, Profile, pooled, values_recur
from modelward_server.drift.row_hashes import least_hashes, row_hashes
from modelward_server.statistics.block_bootstrap import NullEstimator
from modelward_server.statistics.distances import Floats, Ints
from modelward_server.statistics.panel import Panel, stacked
from modelward_server.statistics.rounding import merge_near_duplicates

BINS = 10
"""Deciles, as is usual for the population stability index (Siddiqi, 2006)."""
BARS = 28
"""Number of bars of a histogram between its two open ends, each of which contains half a percent of the reference."""


def build_profile(columns: Columns, ignored: Collection[str] = (), panel: Panel | None = None) -> Profile:
    """Build the profile of reference data.

    Args:
        columns: columns of one length, in the order of time, with at least one feature. Numbers may contain NaN, which
            is missing, and infinities, which are ordinary values; text and booleans are categories; times are not
            features.
        ignored: other columns that are not features; they need not be present.
        panel: the times of the rows; None if each row is a time of its own.
    """
    rows, panel = len(next(iter(columns.values()))), stacked(panel)
    estimator = NullEstimator(rows, panel)
    left_out = {*ignored, *(name for name, values in columns.items() if is_time(values))}
    features = tuple(_profile(name, values, estimator) for name, values in columns.items() if name not in left_out)
    joint = build_joint(columns, features, estimator.max_block, panel)
    times = panel.length if panel else 0
    hashes = row_hashes(columns, [feature.name for feature in features])
    repeated = 1 - len(np.unique(hashes)) / rows
    return Profile(
        rows, features, joint, estimator.tests, tuple(sorted(left_out)), times, least_hashes(hashes), repeated
    )


def _profile(name: str, values: Any, estimator: NullEstimator) -> Feature:
    if values.dtype.kind in "if":
        return _numbers(name, values.astype(np.float64), estimator)
    return _categories(name, values, estimator)


def _numbers(name: str, ordered: Floats, estimator: NullEstimator) -> NumberProfile:
    present = ~np.isnan(ordered)
    values, inverse, counts = np.unique(ordered[present], return_inverse=True, return_counts=True)
    if values_recur(len(values), len(inverse)):
        values, inverse, counts = np.unique(
            merge_near_duplicates(values)[inverse], return_inverse=True, return_counts=True
        )
    cumulative = counts.cumsum()
    ranks = np.full(len(ordered), -1, np.int32)
    ranks[present] = inverse
    edges = bin_edges(values, cumulative)
    bins = np.searchsorted(edges, values).astype(np.int32)
    bars, moments = bar_edges(values, cumulative), _moments(values, counts)
    return NumberProfile(
        name=name,
        values=values,
        cumulative=cumulative,
        missing=len(ordered) - int(present.sum()),
        edges=edges,
        counts=np.bincount(bins, weights=counts, minlength=len(edges) + 1).astype(np.int64),
        bars=bars,
        heights=np.bincount(np.searchsorted(bars, values), weights=counts, minlength=len(bars) + 1).astype(np.int64),
        moments=moments,
        null=estimator.estimate_numeric(ordered, ranks, cumulative, bins, _scaled(values, moments)),
    )


def _scaled(values: Floats, moments: Floats) -> Floats:
    """Return values in standard deviations from the mean; infinities become the outermost finite values."""
    mean, deviation, least, greatest = moments
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = (values.clip(least, greatest) - mean) / deviation
    return np.asarray(np.nan_to_num(scaled, posinf=1e100, neginf=-1e100).clip(-1e100, 1e100))


def bin_edges(values: Floats, cumulative: Ints) -> Floats:
    """Return the deciles of a sample, each an actual value, without the maximum.

    Args:
        values: the distinct values, ascending, shape (k,).
        cumulative: the number of rows at or below each, shape (k,).
    """
    if not len(values):
        return np.empty(0)
    positions = np.arange(1, BINS) / BINS * cumulative[-1]
    edges = np.unique(values[np.searchsorted(cumulative, positions - 1e-9)])
    return np.asarray(edges[edges < values[-1]])


def bar_edges(values: Floats, cumulative: Ints) -> Floats:
    """Return the edges of a histogram: one between each pair of few values, otherwise edges of equal widths.

    Args:
        values: the distinct values, ascending, shape (k,).
        cumulative: the number of rows at or below each, shape (k,).
    """
    finite = np.isfinite(values)
    if finite.sum() < 2:
        return np.empty(0)
    if finite.sum() <= BARS + 2:
        return np.asarray(values[finite][:-1] / 2 + values[finite][1:] / 2)
    low, high = np.searchsorted(cumulative, np.array([0.005, 0.995]) * cumulative[-1])
    least, most = values[[max(low, finite.argmax()), min(high, len(values) - 1 - finite[::-1].argmax())]]
    return (
        np.unique(np.linspace(0, 1, BARS + 1) * (most / 2 - least / 2) * 2 + least)
        if most > least
        else np.array([least])
    )


def _moments(values: Floats, counts: Ints) -> Floats:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(4)
    values, counts = values[finite], counts[finite]
    unit = np.abs(values).max() or 1.0  # Keeps squares of very large values from overflowing.
    mean = np.average(values / unit, weights=counts)
    deviation = np.sqrt(np.average((values / unit - mean) ** 2, weights=counts)) if len(values) > 1 else 0.0
    return np.array([mean * unit, deviation * unit, values[0], values[-1]])


def _categories(name: str, values: Any, estimator: NullEstimator) -> CategoryProfile:
    labels = category_labels(values)
    rows_by_label = count_categories(labels)
    missing = rows_by_label.pop(None, 0)
    categories = sorted(rows_by_label, key=lambda label: (-rows_by_label[label], str(label)))
    index: dict[str | None, int] = {label: i for i, label in enumerate(categories)} | {None: -1}
    codes = np.array([index[label] for label in labels], np.int32)
    counts = np.array([rows_by_label[label] for label in categories], np.int64)
    tested = pooled(counts, counts)
    null = estimator.estimate_categorical(np.minimum(codes, len(tested) - 1), tested[: len(tested) - (tested[-1] == 0)])
    return CategoryProfile(name, tuple(map(str, categories)), counts, missing, null)


def count_categories(labels: list[str | None]) -> dict[str | None, int]:
    """Count labels as Python strings: a numpy array of text is as wide as its longest item and drops trailing NULs."""
    return dict(Counter(labels))
