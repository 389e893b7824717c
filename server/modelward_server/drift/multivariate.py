"""Multivariate drift: correlations may change while every single feature is distributed as before.

A row is converted to its normalized ranks in the reference, feature by feature, so that units and heavy tails do not
matter. Two statistics are computed. The maximum mean discrepancy (Gretton et al., 2012), with random Fourier features
(Rahimi and Recht, 2007), tests against segments of the reference whether the distribution differs. The area under the
ROC curve of a classifier that separates live from reference rows (Lopez-Paz and Oquab, 2017) measures how much.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from modelward.data import Columns
from modelward.kinds import category_labels
from modelward_server.drift.profile import CategoryProfile, Feature, JointProfile, NumberProfile, Profile
from modelward_server.libraries import load
from modelward_server.statistics.block_bootstrap import StationaryBootstrap, enlarged
from modelward_server.statistics.distances import Floats, Ints, NormalizedRanks
from modelward_server.statistics.even_sample import even_sample
from modelward_server.statistics.null_distribution import (
    PROBABILITIES,
    SEED,
    SEGMENT_LENGTHS,
    NullDistribution,
    fit_null,
    p_values,
    segment_lengths,
)
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.panel_segments import sum_times
from modelward_server.storage.columns import select_rows

FREQUENCIES = 128
"""Number of random Fourier features; their error decreases with its square root."""
REPLICATES = 299
MAX_ROWS_EMBEDDED = 100_000
PIECES = 10
"""Number of contiguous pieces, spread over time, in which a longer reference is embedded."""
MAX_CLASSIFIER_ROWS = 600
"""Maximum number of rows of each side on which the classifier is trained and evaluated."""
FOLDS = 3
MIN_ROWS = 20
"""The minimum number of rows for a joint comparison: fewer say nothing about dependence between features."""


def normalized_ranks(features: Sequence[Feature], columns: Mapping[str, Any]) -> NormalizedRanks:
    """Return the normalized rank of each value in the reference, from 0 to 1, as float32 of shape (rows, features).

    Missing values have rank 0.5. This is the only function that computes ranks, for reference rows and live ones alike,
    in the precision in which profiles store them: a classifier would separate the two by any difference in precision.

    Args:
        features: the profiles of the features.
        columns: the values of each feature, by name, each of shape (rows,).
    """
    return np.column_stack([_normalized_ranks(feature, columns[feature.name]) for feature in features]).astype(
        np.float32
    )


def _normalized_ranks(feature: Feature, values: Any) -> Floats:
    if isinstance(feature, CategoryProfile):
        return _category_ranks(feature, values)
    if not feature.present:
        return np.full(len(values), 0.5)
    values = feature.read(values.astype(np.float64))
    known = np.concatenate(([0], feature.cumulative))
    left = np.searchsorted(feature.values, values)
    right = left + (feature.values[np.minimum(left, len(feature.values) - 1)] == values)
    return np.where(np.isnan(values), 0.5, (known[left] + known[right]) / (2 * feature.present))


def _category_ranks(feature: CategoryProfile, values: Any) -> Floats:
    """Return normalized ranks by the alphabetical order of the names, which does not depend on the counts.

    An order by counts would partly reflect chance in the reference, by which a classifier could separate later rows
    from it. A new name is ranked between its alphabetical neighbours.
    """
    names = sorted(zip(feature.categories, feature.counts.tolist(), strict=True))
    ordered, counts = [name for name, _ in names], np.array([count for _, count in names])
    ends = np.concatenate(([0.0], counts.cumsum() / max(feature.present, 1)))
    rank: dict[str | None, float] = dict(zip(ordered, ((ends[1:] + ends[:-1]) / 2).tolist(), strict=True))
    labels = list(category_labels(values))
    new = {label for label in labels if label is not None} - rank.keys()
    rank |= {label: float(ends[bisect(ordered, label)]) for label in new} | {None: 0.5}
    return np.array([rank[label] for label in labels], np.float64)


def reference_cells(profile: Profile, cells: int = 64) -> Ints:
    """Return the number of reference rows in each of `cells` equal intervals of the rank, shape (features, cells)."""
    return np.array([_cells(feature, profile.rows, cells) for feature in profile.features])


def _cells(feature: Feature, rows: int, cells: int) -> Ints:
    if isinstance(feature, NumberProfile):
        values, counts = feature.values, np.diff(feature.cumulative, prepend=0)
    else:
        values, counts = np.array(feature.categories, dtype=object), feature.counts
    ranks = normalized_ranks([feature], {feature.name: values})[:, 0]
    cell = np.minimum((ranks * cells).astype(int), cells - 1)
    totals = np.bincount(cell, weights=counts, minlength=cells).astype(np.int64)
    totals[cells // 2] += rows - feature.present  # Missing values have rank 0.5.
    return np.asarray(totals)


def build_joint(
    columns: Columns, features: Sequence[Feature], block: float, panel: Panel | None = None
) -> JointProfile:
    """Build the joint profile of all features.

    Args:
        columns: the values of each feature, in the order of time, each of shape (rows,).
        features: the profiles of the features.
        block: the number of rows, of a panel times, over which the dependence lasts.
        panel: the times of the rows; None if each row is a time of its own.
    """
    rows = len(next(iter(columns.values())))
    chosen = _pieces(rows, panel)
    panel = panel and panel.part(chosen)
    if len(features) < 2 or rows < MIN_ROWS:
        return empty_joint_profile(len(features))
    ranks = normalized_ranks(features, select_rows(columns, chosen))
    random = np.random.default_rng(SEED)
    # Rows of independent features are about sqrt(f / 6) apart: the median rule for the width of the kernel.
    frequencies = random.normal(0, np.sqrt(6 / len(features)), (len(features), FREQUENCIES)).astype(np.float32)
    phases = random.uniform(0, 2 * np.pi, FREQUENCIES).astype(np.float32)
    by_row = fourier_features(ranks, frequencies, phases)
    centre = by_row.mean(axis=0, dtype=np.float64)
    if panel:
        by_time = panel.sums(by_row)
        drawn = enlarged(_panel_discrepancies(by_time, panel, centre, block, random), block, panel.length)
        null = fit_null(drawn[None], p_values(drawn[None]), panel.length / block, panel.rows / panel.length)
        return JointProfile(thin(ranks, MAX_CLASSIFIER_ROWS), frequencies, phases, centre, null)
    drawn = np.stack(
        [_segment_discrepancies(by_row, centre, length, block, random) for length in segment_lengths(rows)]
    )
    null = fit_null(drawn[None], p_values(drawn[None]), rows / block)
    return JointProfile(thin(ranks, MAX_CLASSIFIER_ROWS), frequencies, phases, centre, null)


def _pieces(rows: int, panel: Panel | None) -> Any:
    """Return the numbers of the rows that are embedded: contiguous pieces, of a panel whole times."""
    if rows <= MAX_ROWS_EMBEDDED:
        return np.arange(rows)
    times = panel.length if panel else rows
    embedded = max(1, times * MAX_ROWS_EMBEDDED // rows)
    pieces = min(PIECES, embedded)
    starts = np.linspace(0, times - embedded // pieces, pieces).astype(int)
    chosen = (starts[:, None] + np.arange(embedded // pieces)).ravel()
    return np.flatnonzero(np.isin(panel.times, chosen)) if panel else chosen


def empty_joint_profile(features: int) -> JointProfile:
    """Return the joint profile of features that are not compared jointly."""
    empty = np.zeros((1, len(SEGMENT_LENGTHS), len(PROBABILITIES)))
    none = np.zeros((0, features), np.float32)
    return JointProfile(none, none.T, np.zeros(0, np.float32), np.zeros(0), NullDistribution(empty, 1.0, 1.0))


def fourier_features(ranks: NormalizedRanks, frequencies: Any, phases: Any) -> Any:
    """Return random Fourier features, shape (rows, d), whose inner products approximate a Gaussian kernel."""
    waves = ranks @ frequencies
    waves += phases
    np.cos(waves, out=waves)
    waves *= np.sqrt(2 / max(len(phases), 1))
    return waves


def _segment_discrepancies(
    by_row: Any, centre: Floats, length: int, block: float, random: np.random.Generator
) -> Floats:
    """Return the squared maximum mean discrepancy of segments times their rows, shape (replicates,).

    Args:
        by_row: the Fourier features of each row, shape (rows, d).
    """
    segments = StationaryBootstrap(random, len(by_row), length, REPLICATES).segments(block)
    ends = np.arange(0, segments.size + 1, length)
    weights = scipy.sparse.csr_array(
        (np.full(segments.size, 1 / length), segments.ravel(), ends), (REPLICATES, len(by_row))
    )
    return np.asarray(length * ((weights @ by_row - centre) ** 2).sum(axis=1))


def _panel_discrepancies(
    by_time: Floats, panel: Panel, centre: Floats, block: float, random: np.random.Generator
) -> Floats:
    """Return squared maximum mean discrepancies of segments times their length, shape (lengths, replicates).

    Args:
        by_time: the sums of the Fourier features of the rows of each time, shape (times, d).
    """
    sums, found = np.column_stack([by_time, panel.counts]).astype(np.float32), []
    for length in segment_lengths(panel.length):
        segments = StationaryBootstrap(random, panel.length, length, REPLICATES).segments(block)
        drawn = sum_times(segments, sums)
        found.append(length * ((drawn[:, :-1] / drawn[:, -1:] - centre) ** 2).sum(axis=1))
    return np.stack(found)


def squared_mmd(profile: JointProfile, ranks: NormalizedRanks) -> float:
    """Return the squared maximum mean discrepancy between rows, shape (rows, features), and the reference."""
    mean = fourier_features(ranks, profile.frequencies, profile.phases).mean(axis=0, dtype=np.float64)
    return float(((mean - profile.centre) ** 2).sum())


def classifier_auc(reference: NormalizedRanks, live: NormalizedRanks) -> float:
    """Return the cross-validated area under the ROC curve of a classifier that separates live from reference rows.

    The folds are contiguous in time, so that the classifier cannot recognize a row by its neighbours.

    Args:
        reference: ranks as float32, shape (rows, features).
        live: ranks as float32, shape (rows, features).

    Returns:
        A value from 0.5 (no separation; smaller areas are raised to it) to 1 (perfect separation).
    """
    assert reference.dtype == live.dtype == np.float32
    rows = np.concatenate([reference, live])
    kinds = np.repeat([0, 1], [len(reference), len(live)])
    folds = np.concatenate([np.arange(len(side)) * FOLDS // len(side) for side in (reference, live)])
    scores = np.empty(len(rows))
    for fold in range(FOLDS):
        held_out = folds == fold
        scores[held_out] = _classifier().fit(rows[~held_out], kinds[~held_out]).predict_proba(rows[held_out])[:, 1]
    area = load("sklearn.metrics").roc_auc_score
    return max(0.5, float(np.mean([area(kinds[folds == f], scores[folds == f]) for f in range(FOLDS)])))


def _classifier() -> Any:
    return load("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=30, max_leaf_nodes=8, min_samples_leaf=5, early_stopping=False, random_state=0
    )


def thin(rows: NormalizedRanks, max_rows: int) -> NormalizedRanks:
    """Return at most `max_rows` rows, evenly spread over all."""
    return rows[even_sample(len(rows), max_rows)]


def can_compare_jointly(profile: JointProfile, rows: int) -> bool:
    """Return whether there are enough features and rows for a joint comparison."""
    return len(profile.sample) >= MIN_ROWS and rows >= MIN_ROWS
