"""Drift of panels: the rows of a day share its shock, so the null is made from whole days."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from modelward.drift import TimeWindow
from modelward_server.drift import sample
from modelward_server.drift.compare import FeatureComparison, compare
from modelward_server.drift.profile import Profile, describe
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.profile_serialization import from_bytes, to_bytes
from modelward_server.drift.sample import LiveSample
from modelward_server.statistics.panel import Panel

pytestmark = pytest.mark.system  # Takes seconds.

DAYS, LIVE, SYMBOLS = 120, 20, 20
Floats = NDArray[np.float64]


def market(random: np.random.Generator, days: int) -> Floats:
    """Return values of which half the variance is that of the day, shape (days, symbols)."""
    return random.normal(size=(days, 1)) + random.normal(size=(days, SYMBOLS))


def by_day(days: int) -> Panel:
    return Panel(np.repeat(np.arange(days), SYMBOLS))


def sampled(profile: Profile, columns: dict[str, Any], days: int) -> LiveSample:
    live = LiveSample({"reference": profile}, "data")
    live.add(columns)
    live.window = TimeWindow("day", "symbol", "1", str(days), days, SYMBOLS) if days else None
    return live


def compared(random: np.random.Generator, shift: float = 0.0) -> tuple[FeatureComparison, float]:
    """Return the comparison of a month of days, and the p-value of a Kolmogorov-Smirnov test of its rows."""
    reference, rows = market(random, DAYS).ravel(), market(random, LIVE).ravel() + shift
    profile = build_profile({"x": reference}, panel=by_day(DAYS))
    found = compare(profile, sampled(profile, {"x": rows}, LIVE), "reference").features[0]
    return found, float(ks_2samp(reference, rows).pvalue)


def test_equal_days_rarely_drift() -> None:
    found = [compared(np.random.default_rng(seed)) for seed in range(30)]
    assert sum(one.p_value <= 0.05 for one, _ in found) <= 6
    assert sum(rows <= 0.05 for _, rows in found) > 12
    effective = np.mean([one.effective_rows for one, _ in found])
    assert LIVE / 2 < effective < LIVE * SYMBOLS / 2


def test_live_days_of_few_symbols_rarely_drift() -> None:
    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        profile = build_profile({"x": market(random, DAYS).ravel()}, panel=by_day(DAYS))
        live = sampled(profile, {"x": market(random, LIVE)[:, 0]}, LIVE)
        found.append(compare(profile, live, "reference").features[0].p_value)
    assert sum(p_value <= 0.05 for p_value in found) <= 3


def test_a_shift_of_all_days_is_found() -> None:
    assert sum(compared(np.random.default_rng(seed), 1.5)[0].p_value <= 0.05 for seed in range(5)) >= 4


def test_repeated_rows_of_a_day_add_no_evidence() -> None:
    random = np.random.default_rng(0)
    reference, rows = random.normal(size=DAYS), random.normal(size=LIVE) + 0.5
    found = []
    for copies in (2, 9):
        profile = build_profile({"x": np.repeat(reference, copies)}, panel=Panel(np.repeat(np.arange(DAYS), copies)))
        live = sampled(profile, {"x": np.repeat(rows, copies)}, LIVE)
        found.append(compare(profile, live, "reference").features[0].p_value)
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_live_days_without_times_have_as_many_rows_as_those_of_the_reference() -> None:
    random = np.random.default_rng(0)
    profile = build_profile({"x": market(random, DAYS).ravel()}, panel=by_day(DAYS))
    rows = {"x": market(random, LIVE).ravel()}
    first, second = (compare(profile, sampled(profile, rows, times), "reference").features[0] for times in (0, LIVE))
    assert (first.p_value, first.effective_rows) == (second.p_value, second.effective_rows)


def test_categories_missing_values_and_the_joint_test_are_by_day() -> None:
    """Each day is of one regime, so a month differs a lot from the reference by chance."""
    alarms = []
    for seed in range(12):
        columns = _regimes(np.random.default_rng(seed), DAYS + LIVE)
        before, after = ({name: values[part] for name, values in columns.items()} for part in _parts())
        profile = build_profile(before, panel=by_day(DAYS))
        found = compare(profile, sampled(profile, after, LIVE), "reference")
        alarms.append([*(one.p_value <= 0.05 for one in found.features), found.joint.p_value <= 0.05])
    assert np.sum(alarms, axis=0).max() <= 3


def _parts() -> tuple[slice, slice]:
    return slice(0, DAYS * SYMBOLS), slice(DAYS * SYMBOLS, None)


def _regimes(random: np.random.Generator, days: int) -> dict[str, Any]:
    regime, x = random.random(days) < 0.3, market(random, days)
    x[random.random(days) < 0.1] = np.nan
    return {"regime": np.where(np.repeat(regime, SYMBOLS), "crisis", "calm").astype(object), "x": x.ravel()}


def test_times_are_stored_with_the_profile() -> None:
    profile = build_profile({"x": market(np.random.default_rng(0), DAYS).ravel()}, panel=by_day(DAYS))
    assert from_bytes(to_bytes(profile)).times == profile.times == DAYS
    assert describe(profile)[0].effective_rows == pytest.approx(profile.features[0].null.independence * DAYS)


@pytest.mark.parametrize("sampled_rows", [2_000, 8_000])
def test_symbols_of_other_levels_do_not_drift_together(sampled_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the joint test takes a sample, each symbol has its share."""
    monkeypatch.setattr(sample, "MAX_PANEL_ROWS_SAMPLED", sampled_rows)
    random, levels = np.random.default_rng(3), np.arange(SYMBOLS) % 4 * 3.0
    reference, rows = (
        {name: (levels + random.normal(size=(days, SYMBOLS))).ravel() for name in "ab"} for days in (600, 300)
    )
    profile = build_profile(reference, panel=by_day(600))
    joint = compare(profile, sampled(profile, rows, 300), "reference").joint
    assert (joint.rows < len(rows["a"])) is (sampled_rows < len(rows["a"]))
    assert joint.p_value > 0.05
    assert joint.auc < 0.6
