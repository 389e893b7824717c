"""All features together: correlations may break while every feature by itself looks as before.

A row becomes its places in the reference, feature by feature, so that units and heavy tails do not matter. Two answers
are given. The maximum mean discrepancy (Gretton et al., 2012), with random Fourier features (Rahimi and Recht, 2007),
says whether the rows come from elsewhere, against stretches of the reference. The area under the ROC curve of a
classifier that tells live from reference rows (Lopez-Paz and Oquab, 2017) says how much elsewhere.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.kinds import category_labels
from modelward_server.drift.profile import CategoryProfile, Feature, JointProfile, NumberProfile, Profile
from modelward_server.libraries import load
from modelward_server.statistics.block_bootstrap import StationaryBootstrap
from modelward_server.statistics.distances import Floats, Ints, Places
from modelward_server.statistics.null_distribution import (
    PROBABILITIES,
    SEED,
    SEGMENT_LENGTHS,
    NullDistribution,
    fit_null,
    segment_lengths,
)

FREQUENCIES = 128
"""Random Fourier features; their error falls with the root of that."""
REPLICATES = 299
ROWS_EMBEDDED = 100_000
PIECES = 10
"""A longer reference is embedded in so many pieces of neighbouring rows, spread over time."""
ROWS_LEARNT = 600
"""Rows of each side that the classifier sees."""
FOLDS = 3
MIN_ROWS = 20
"""Fewer rows tell nothing of how features hang together."""


def places(features: Sequence[Feature], columns: Mapping[str, Any]) -> Places:
    """Return the place of each value in the reference, from 0 to 1, shape (rows, features); 0.5 where it is missing.

    Nothing else makes places, of reference rows and of live ones, in the one precision in which profiles keep them:
    a classifier would tell the two apart by any other.
    """
    return np.column_stack([_places(feature, columns[feature.name]) for feature in features]).astype(np.float32)


def _places(feature: Feature, values: Any) -> Floats:
    if isinstance(feature, CategoryProfile):
        return _category_places(feature, values)
    if not feature.present:
        return np.full(len(values), 0.5)
    values = feature.read(values.astype(np.float64))
    known = np.concatenate(([0], feature.cumulative))
    both = [known[np.searchsorted(feature.values, values, side)] for side in ("left", "right")]
    return np.where(np.isnan(values), 0.5, (both[0] + both[1]) / (2 * feature.present))


def _category_places(feature: CategoryProfile, values: Any) -> Floats:
    """Return places by the order of the names, which knows nothing of the counts.

    In the order of their counts the most frequent would come first by luck in part, and rows that come later, which do
    not share that luck, would be told from the reference by it. A new name has its place between its neighbours.
    """
    names = sorted(zip(feature.categories, feature.counts.tolist(), strict=True))
    ordered, counts = [name for name, _ in names], np.array([count for _, count in names])
    ends = np.concatenate(([0.0], counts.cumsum() / max(feature.present, 1)))
    place: dict[str | None, float] = dict(zip(ordered, ((ends[1:] + ends[:-1]) / 2).tolist(), strict=True))
    labels = list(category_labels(values))
    new = {label for label in labels if label is not None} - place.keys()
    place |= {label: float(ends[bisect(ordered, label)]) for label in new} | {None: 0.5}
    return np.array([place[label] for label in labels], np.float64)


def reference_cells(profile: Profile, cells: int = 64) -> Ints:
    """Count the reference's rows by place, in equal parts from 0 to 1, shape (features, cells)."""
    return np.array([_cells(feature, profile.rows, cells) for feature in profile.features])


def _cells(feature: Feature, rows: int, cells: int) -> Ints:
    if isinstance(feature, NumberProfile):
        values, counts = feature.values, np.diff(feature.cumulative, prepend=0)
    else:
        values, counts = np.array(feature.categories, dtype=object), feature.counts
    placed = places([feature], {feature.name: values})[:, 0]
    inside = np.minimum((placed * cells).astype(int), cells - 1)
    found = np.bincount(inside, weights=counts, minlength=cells).astype(np.int64)
    found[cells // 2] += rows - feature.present  # Where a missing value has its place.
    return np.asarray(found)


def build_joint(columns: Columns, features: Sequence[Feature], block: float) -> JointProfile:
    """Profile all features together.

    Args:
        block: for how many rows the dependence lasts.
    """
    rows = len(next(iter(columns.values())))
    chosen = _pieces(rows)
    if len(features) < 2 or rows < MIN_ROWS:
        return nothing_to_join(len(features))
    placed = places(features, {name: values[chosen] for name, values in columns.items()})
    random = np.random.default_rng(SEED)
    # Two rows of independent features lie about sqrt(f / 6) apart: the median rule for the kernel's width.
    frequencies = random.normal(0, np.sqrt(6 / len(features)), (len(features), FREQUENCIES)).astype(np.float32)
    phases = random.uniform(0, 2 * np.pi, FREQUENCIES).astype(np.float32)
    centre = embedded(placed, frequencies, phases).mean(axis=0, dtype=np.float64)
    drawn = np.stack(
        [_stretches(placed, frequencies, phases, centre, length, block, random) for length in segment_lengths(rows)]
    )
    null = fit_null(drawn[None], rows / block)
    return JointProfile(thinned(placed, ROWS_LEARNT), frequencies, phases, centre, null)


def _pieces(rows: int) -> Any:
    """Return the rows that are embedded."""
    if rows <= ROWS_EMBEDDED:
        return np.arange(rows)
    length = ROWS_EMBEDDED // PIECES
    starts = np.linspace(0, rows - length, PIECES).astype(int)
    return (starts[:, None] + np.arange(length)).ravel()


def nothing_to_join(features: int) -> JointProfile:
    """Return the profile of features that are not looked at together."""
    empty = np.zeros((1, len(SEGMENT_LENGTHS), len(PROBABILITIES)))
    none = np.zeros((0, features), np.float32)
    return JointProfile(none, none.T, np.zeros(0, np.float32), np.zeros(0), NullDistribution(empty, 1.0, 1.0))


def embedded(placed: Places, frequencies: Any, phases: Any) -> Any:
    """Return random Fourier features, shape (rows, d): their products approximate a Gaussian kernel."""
    waves = placed @ frequencies
    waves += phases
    np.cos(waves, out=waves)
    waves *= np.sqrt(2 / max(len(phases), 1))
    return waves


def _stretches(
    placed: Places,
    frequencies: Any,
    phases: Any,
    centre: Floats,
    length: int,
    block: float,
    random: np.random.Generator,
) -> Floats:
    """Return the squared discrepancy of stretches times their rows, shape (replicates,)."""
    segments = StationaryBootstrap(random, len(placed), length, REPLICATES).segments(block)
    means = [embedded(placed[rows], frequencies, phases).mean(axis=0, dtype=np.float64) for rows in segments]
    return np.asarray(length * ((np.array(means) - centre) ** 2).sum(axis=1))


def discrepancy(profile: JointProfile, placed: Places) -> float:
    """Return the squared maximum mean discrepancy of rows from the reference."""
    mean = embedded(placed, profile.frequencies, profile.phases).mean(axis=0, dtype=np.float64)
    return float(((mean - profile.centre) ** 2).sum())


def area_under_curve(reference: Places, live: Places) -> float:
    """Return how well a classifier tells rows of two kinds from each other on rows that it did not see.

    It learns from stretches of time and is asked about others, so that it cannot recognise a row by its neighbours.

    Returns:
        from 0.5, when it cannot, to 1, when it always can.
    """
    assert reference.dtype == live.dtype == np.float32
    rows = np.concatenate([reference, live])
    kinds = np.repeat([0, 1], [len(reference), len(live)])
    folds = np.concatenate([np.arange(len(side)) * FOLDS // len(side) for side in (reference, live)])
    said = np.empty(len(rows))
    for fold in range(FOLDS):
        asked = folds == fold
        said[asked] = _classifier().fit(rows[~asked], kinds[~asked]).predict_proba(rows[asked])[:, 1]
    area = load("sklearn.metrics").roc_auc_score
    return max(0.5, float(np.mean([area(kinds[folds == f], said[folds == f]) for f in range(FOLDS)])))


def _classifier() -> Any:
    return load("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=30, max_leaf_nodes=8, min_samples_leaf=5, early_stopping=False, random_state=0
    )


def thinned(rows: Places, most: int) -> Places:
    """Return rows evenly spread over all, at most so many."""
    return rows[:: max(1, -(-len(rows) // most))]


def can_join(profile: JointProfile, rows: int) -> bool:
    """Say whether there are enough features and rows to look at them together."""
    return len(profile.sample) >= MIN_ROWS and rows >= MIN_ROWS
