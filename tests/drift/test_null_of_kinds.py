"""Data that did not change, of every kind of column: neither a feature nor all together may look as if they had."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from modelward.drift import DriftThresholds
from modelward_server.drift.build import build_profile
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.joint import places, reference_cells
from modelward_server.drift.live import count_live

FULL = os.environ.get("MODELWARD_TEST_SCALE") == "full"
RUNS = 200 if FULL else 12
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
MIXES = {name: (name, "float") for name in COLUMNS if name != "float"} | {
    "all kinds": tuple(COLUMNS),
    "two bools": ("bool", "few integers"),
    "all discrete": ("few integers", "int8", "bool", "text", "category", "tenths"),
}


@pytest.mark.parametrize("mix", MIXES)
def test_unchanged_data_are_not_told_from_the_reference(mix: str) -> None:
    found = [_decided(MIXES[mix], seed) for seed in range(RUNS)]
    aucs = np.array([one.joint.auc for one in found])
    assert np.median(aucs) < 0.6  # It was 1.00 when the two sides were rounded otherwise.
    assert not any(one.joint.drifted for one in found if one.joint.auc < 0.75)
    assert sum(one.joint.p_value <= LEVEL for one in found) <= binom.ppf(0.9999, RUNS, 0.08)


def test_alarms_over_all_kinds_keep_their_level() -> None:
    """One table in twenty may alarm, the features and all together: over every mix."""
    found = [_decided(mix, 1000 + seed, ANY_EFFECT) for mix in MIXES.values() for seed in range(RUNS // 4)]
    assert sum(one.drift_detected for one in found) <= binom.ppf(0.999, len(found), 0.08)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_has_the_same_place_as_reference_and_as_live_row(name: str) -> None:
    columns = _table((name, "float"), np.random.default_rng(0), REFERENCE_ROWS)
    profile = build_profile(columns)
    live = count_live({"default": profile}, [columns], "data")
    placed = places(profile.features, live.sample())
    assert placed.dtype == profile.joint.sample.dtype
    assert np.array_equal(placed, profile.joint.sample)
    cells = [np.bincount(np.minimum((column * 64).astype(int), 63), minlength=64) for column in placed.T]
    assert np.array_equal(cells, reference_cells(profile))


def _table(names: tuple[str, ...], random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {name: COLUMNS[name](random, rows) for name in names}


def _decided(names: tuple[str, ...], seed: int, thresholds: DriftThresholds | None = None) -> Decision:
    random = np.random.default_rng([seed, len(names)])
    profile = build_profile(_table(names, random, REFERENCE_ROWS))
    live = count_live({"default": profile}, [_table(names, random, ROWS)], "data")
    return decide(compare(profile, live, "default"), thresholds or DriftThresholds())
