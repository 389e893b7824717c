"""How often data that did not change raise an alarm, on series whose rows depend on each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from modelward.drift import DriftThresholds
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import decide
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import count_live
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Hundreds of tables are drawn.

REFERENCE_ROWS, ROWS = 1000, 63
RUNS, TABLES = (60, 36) if FULL else (15, 8)
ANY_EFFECT = DriftThresholds(ks=1e-9, kl=1e-9, significance=0.05)
"""Thresholds under which significance alone decides."""


def _autoregressive(random: np.random.Generator, rows: int, coefficient: float) -> Any:
    return lfilter([1], [1, -coefficient], random.normal(size=rows + 300))[300:]


def _garch(random: np.random.Generator, rows: int) -> Any:
    """Bollerslev (1986), with the persistence of daily returns of stocks."""
    variance, values = 1.0, []
    for noise in random.normal(size=rows + 300):
        values.append(np.sqrt(variance) * noise)
        variance = 0.02 + 0.08 * values[-1] ** 2 + 0.90 * variance
    return np.array(values[300:])


SERIES: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "independent": lambda random, rows: random.normal(size=rows),
    "AR(1) of 0.7": lambda random, rows: _autoregressive(random, rows, 0.7),
    "AR(1) of 0.95": lambda random, rows: _autoregressive(random, rows, 0.95),
    "GARCH(1, 1)": _garch,
}


@pytest.mark.parametrize("series", SERIES)
def test_false_alarms_keep_near_their_nominal_level(series: str) -> None:
    random = np.random.default_rng(4)
    alarms = sum(_alarms(SERIES[series], random) for _ in range(RUNS))
    # A rate of 8 % would pass this with 99.9 %; naive Kolmogorov-Smirnov has 94 % on the third series.
    assert alarms <= binom.ppf(0.999, RUNS, 0.08)


def _alarms(series: Callable[[np.random.Generator, int], Any], random: np.random.Generator) -> bool:
    profile = build_profile({"x": series(random, REFERENCE_ROWS)})
    live = count_live({"default": profile}, [({"x": series(random, ROWS)}, None)], "data")
    return decide(compare(profile, live, "default"), ANY_EFFECT).drift_detected


def test_confidence_of_many_features_is_calibrated() -> None:
    random = np.random.default_rng(6)
    confidences = []
    for _ in range(TABLES):
        common = random.normal(size=(300 + 50, 1))
        table = common + random.normal(size=(350, 6))
        profile = build_profile({f"x{i}": column for i, column in enumerate(table[:300].T)})
        live = count_live(
            {"default": profile}, [({f"x{i}": column for i, column in enumerate(table[300:].T)}, None)], "data"
        )
        confidences.append(decide(compare(profile, live, "default"), DriftThresholds()).confidence)
    # Of all tables without drift a tenth should reach 0.9.
    assert binom.ppf(0.001, TABLES, 0.06) <= np.sum(np.array(confidences) >= 0.9) <= binom.ppf(0.999, TABLES, 0.13)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_reference_that_does_not_vary_because_it_is_short_raises_no_alarm(rows: int) -> None:
    random = np.random.default_rng(5)
    for value in (0.0, 1.0):
        profile = build_profile({"x": np.full(rows, value)})
        live = count_live({"": profile}, [({"x": random.integers(-1, 3, 300).astype(float)}, None)], "data")
        assert not decide(compare(profile, live, ""), ANY_EFFECT).drift_detected
    gaps = np.where(random.random(300) < 0.12, np.nan, random.normal(size=300))
    profile = build_profile({"x": random.normal(size=12)})
    assert not decide(compare(profile, count_live({"": profile}, [({"x": gaps}, None)], "data"), ""), GAPS).drivers


GAPS = DriftThresholds(ks=1e9, kl=1e9, wasserstein=1e9, missing=0.1)


def test_a_long_reference_that_does_not_vary_still_finds_the_rows_that_differ() -> None:
    random = np.random.default_rng(6)
    profile = build_profile({"setting": np.full(500, 1.0), "x": random.normal(size=500)})
    columns = {
        "setting": np.repeat([1.0, 2.0], [70, 30]),
        "x": np.where(np.arange(100) < 15, np.nan, random.normal(size=100)),
    }
    found = decide(compare(profile, count_live({"": profile}, [(columns, None)], "data"), ""), DriftThresholds())
    assert set(found.drivers) == {"setting", "x"}
