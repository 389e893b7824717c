"""Data that did not change, of every kind of column: neither a feature nor all together may look as if they had."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from modelward.drift import DriftThresholds
from modelward_server.drift.compare import TableComparison, compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.multivariate import normalized_ranks, reference_cells
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import LiveSample, count_live
from tests.support.scale import FULL

pytestmark = [pytest.mark.system, pytest.mark.weekly]  # Draws dozens of tables and compares each.

RUNS = 200 if FULL else 2
REFERENCE_ROWS, ROWS = 400, 200
LEVEL = 0.05
ANY_EFFECT = DriftThresholds(ks=1e-9, kl=1e-9, missing=1e-9, wasserstein=1e-9, auc=0.5 + 1e-9, significance=LEVEL)
"""Thresholds under which significance alone decides."""

Column = Callable[[np.random.Generator, int], Any]


def _of(names: list[str | None], shares: list[float]) -> Column:
    return lambda random, rows: np.array(names, object)[random.choice(len(names), rows, p=shares)]


def _with_gaps(random: np.random.Generator, rows: int) -> Any:
    return np.where(random.random(rows) < 0.3, np.nan, random.normal(size=rows))


COLUMNS: dict[str, Column] = {
    "float": lambda random, rows: random.normal(size=rows),
    "float32": lambda random, rows: random.normal(size=rows).astype(np.float32),
    "int": lambda random, rows: random.integers(-(10**6), 10**6, rows),
    "few integers": lambda random, rows: random.integers(3, size=rows),
    "int8": lambda random, rows: random.integers(-5, 5, rows).astype(np.int8),
    "bool": lambda random, rows: random.random(rows) < 0.4,
    "text": _of([f"name {i}" for i in range(50)], [1 / 50] * 50),
    "category": _of(["up", "down", "flat"], [0.5, 0.3, 0.2]),
    "category with gaps": _of(["up", "down", None], [0.5, 0.3, 0.2]),
    "rare category": _of(["usual", "rare"], [0.99, 0.01]),
    "constant": lambda random, rows: np.full(rows, 0.1),
    "constant text": lambda random, rows: np.full(rows, "all", object),
    "all missing": lambda random, rows: np.full(rows, np.nan),
    "with gaps": _with_gaps,
    "huge": lambda random, rows: random.normal(size=rows) * 1e300,
    "tiny": lambda random, rows: random.normal(size=rows) * 1e-300,
    "large offset": lambda random, rows: 1e12 + random.normal(size=rows),
    "tenths": lambda random, rows: random.integers(10, size=rows) / 10,
    "mostly zero": lambda random, rows: random.normal(size=rows) * (random.random(rows) < 0.2),
    "heavy tail": lambda random, rows: random.standard_t(1, rows),
    "infinite at times": lambda random, rows: np.where(random.random(rows) < 0.1, np.inf, random.normal(size=rows)),
}
MIXES = {
    "all kinds": tuple(COLUMNS),
    "discrete": ("few integers", "int8", "bool", "text", "category", "tenths"),
    "one text beside a number": ("text", "float"),
    "one bool beside a number": ("bool", "float32"),
    "whole numbers": ("int", "few integers"),
    "odd numbers": ("huge", "tiny", "large offset", "constant", "infinite at times"),
} | ({f"{name} beside a number": (name, "float") for name in COLUMNS if name != "float"} if FULL else {})


@pytest.fixture(scope="module")
def compared() -> dict[str, list[TableComparison]]:
    """How unchanged data differ."""
    return {mix: [_compared(names, seed) for seed in range(RUNS)] for mix, names in MIXES.items()}


@pytest.fixture(scope="module")
def found(compared: dict[str, list[TableComparison]]) -> dict[str, list[Decision]]:
    """What is decided about unchanged data, by any effect that is significant."""
    return {mix: [decide(one, ANY_EFFECT) for one in tables] for mix, tables in compared.items()}


def test_classifier_does_not_tell_unchanged_rows_of_any_kind_from_the_reference(
    compared: dict[str, list[TableComparison]],
) -> None:
    """It did with an area of 1.00, when the two sides were rounded otherwise."""
    areas = {mix: np.median([one.joint.auc for one in tables]) for mix, tables in compared.items()}
    assert max(areas.values()) < 0.6, areas


def test_alarms_keep_their_level_over_all_kinds(found: dict[str, list[Decision]]) -> None:
    """Of all features together and of the table, by the confidence: a rate of 8 % would pass with 99.9 %."""
    decided = [one for some in found.values() for one in some]
    most = binom.ppf(0.999, len(decided), 0.08)
    assert sum(one.joint.p_value <= LEVEL for one in decided) <= most
    assert sum(one.confidence >= 1 - LEVEL for one in decided) <= most
    assert sum(one.drift_detected for one in decided) <= most


@pytest.mark.parametrize("mix", MIXES)
def test_no_mix_alarms_by_itself(found: dict[str, list[Decision]], mix: str) -> None:
    most = binom.ppf(0.9999, RUNS, 0.08)
    assert sum(one.joint.p_value <= LEVEL for one in found[mix]) <= most
    assert sum(one.drift_detected for one in found[mix]) <= most


def test_rows_have_the_same_places_as_reference_and_as_live_rows() -> None:
    columns = _table(tuple(COLUMNS), np.random.default_rng(0), REFERENCE_ROWS)
    profile = build_profile(columns)
    placed = normalized_ranks(profile.features, count_live({"default": profile}, [(columns, None)], "data").sample())
    assert placed.dtype == profile.joint.sample.dtype
    assert np.array_equal(placed, profile.joint.sample)
    cells = [np.bincount(np.minimum((column * 64).astype(int), 63), minlength=64) for column in placed.T]
    assert np.array_equal(cells, reference_cells(profile))


def _table(names: tuple[str, ...], random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {name: COLUMNS[name](random, rows) for name in names}


def _compared(names: tuple[str, ...], seed: int) -> TableComparison:
    random = np.random.default_rng([seed, len(names)])
    profile = build_profile(_table(names, random, REFERENCE_ROWS))
    live = count_live({"default": profile}, [(_table(names, random, ROWS), None)], "data")
    return compare(profile, live, "default")


@pytest.mark.parametrize("kept_bytes", [1 << 30, 1], ids=["whole", "folded"])
def test_what_differs_by_rounding_alone_is_no_drift(kept_bytes: int) -> None:
    tenths = np.arange(REFERENCE_ROWS) % 10
    profile = build_profile({"constant": np.full(REFERENCE_ROWS, 0.3), "tenths": tenths / 10})
    live = LiveSample({"default": profile}, "data", kept_bytes)
    for part in np.split(tenths[:ROWS], 2):
        live.add({"constant": np.full(len(part), 0.1 + 0.2), "tenths": part * 0.1})
    found = decide(compare(profile, live, "default"), ANY_EFFECT)
    assert not found.drift_detected
    assert all(feature.ks < 1e-9 and feature.wasserstein < 1e-9 for feature in found.features)
    assert not any(feature.out_of_range_share for feature in found.features)
