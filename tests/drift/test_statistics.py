"""The statistics against scipy, published values and their own laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from modelward.drift import DriftThresholds, FeatureDrift, FeatureKind, FeatureThresholds
from modelward_server.drift.compare import Comparison, compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.live import count_live
from modelward_server.drift.null import exceedance
from modelward_server.drift.profile import Profile, build_profile, from_bytes, to_bytes
from modelward_server.drift.statistics import js_divergence, kl_divergence, psi, smoothed, total_variation

finite = st.floats(-1e6, 1e6)
any_float = st.floats(allow_nan=True, allow_infinity=True)
far = st.floats(-1e300, 1e300)
few_values = st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0])


def _compare(reference: Any, live: Any, parts: int = 1) -> Comparison:
    profile = build_profile({"x": np.asarray(reference)})
    counted = count_live(profile, ({"x": part} for part in np.array_split(np.asarray(live), parts)), "data")
    return compare(profile, counted["x"], profile.features[0])


def _decide(reference: dict[str, Any], live: dict[str, Any], **thresholds: Any) -> Decision:
    profile = build_profile({name: np.asarray(values) for name, values in reference.items()})
    batch = {name: np.asarray(values) for name, values in live.items()}
    counted = count_live(profile, [batch], "data")
    compared = [compare(profile, counted[feature.name], feature) for feature in profile.features]
    return decide(compared, DriftThresholds(**thresholds), len(next(iter(batch.values()))))


@settings(max_examples=30, deadline=None)
@given(
    arrays(float, st.integers(2, 60), elements=finite | few_values),
    arrays(float, st.integers(2, 60), elements=finite | few_values),
)
def test_ks_equals_scipy_also_with_ties(reference: Any, live: Any) -> None:
    ours, theirs = _compare(reference, live), stats.ks_2samp(live, reference, method="asymp")
    assert ours.ks == pytest.approx(theirs.statistic, abs=1e-12)
    assert ours.ks_p_value == pytest.approx(theirs.pvalue, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    arrays(float, st.integers(2, 60), elements=finite, unique=True),
    arrays(float, st.integers(1, 60), elements=finite),
)
def test_wasserstein_is_scipys_but_for_crossings_between_neighbours(reference: Any, live: Any) -> None:
    assume(reference.std() > 1e-3)
    theirs = stats.wasserstein_distance(live, reference) / reference.std()
    ours = _compare(reference, live).wasserstein
    widest_gap = np.diff(np.sort(reference)).max() / reference.std()
    assert ours <= theirs + 1e-6
    assert ours >= theirs - widest_gap - 1e-6


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    reference = np.random.default_rng(5).normal(size=4000)
    shift = 2.0
    expected = stats.wasserstein_distance(reference + shift, reference) / reference.std()
    assert _compare(reference, reference + shift).wasserstein == pytest.approx(expected, rel=1e-3)


def test_divergences_have_their_textbook_values() -> None:
    # Cover and Thomas, Elements of Information Theory (2006), example 2.3.1 with r = 1/2 and s = 1/4, there in bits:
    # D(p || q) = 1 - log2(3) / 2 and D(q || p) = 3 / 4 log2(3) - 1.
    p, q = np.array([0.5, 0.5]), np.array([0.75, 0.25])
    bits = np.log(2)
    assert kl_divergence(p, q) / bits == pytest.approx(1 - 0.5 * np.log2(3), abs=1e-12)
    assert kl_divergence(q, p) / bits == pytest.approx(0.75 * np.log2(3) - 1, abs=1e-12)
    assert psi(p, q) == pytest.approx(float(kl_divergence(p, q) + kl_divergence(q, p)))
    assert js_divergence(np.array([1 - 1e-12, 1e-12]), np.array([1e-12, 1 - 1e-12])) == pytest.approx(np.log(2))
    assert total_variation(p, q) == pytest.approx(0.25)


@given(arrays(np.int64, st.integers(2, 20), elements=st.integers(0, 1000)), st.data())
def test_kl_of_smoothed_counts_is_scipys_entropy(counts: Any, data: st.DataObject) -> None:
    others = data.draw(arrays(np.int64, len(counts), elements=st.integers(0, 1000)))
    p, q = smoothed(counts), smoothed(others)
    assert float(kl_divergence(p, q)) == pytest.approx(stats.entropy(p, q), abs=1e-9)
    assert np.isfinite(kl_divergence(p, q))
    assert js_divergence(p, q) == pytest.approx(js_divergence(q, p))


def test_chi_square_of_categories_is_scipys() -> None:
    reference = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    live = ["a"] * 20 + ["b"] * 20 + ["c"] * 10
    ours = _compare(np.array(reference, dtype=object), np.array(live, dtype=object))
    theirs = stats.chi2_contingency([[20, 20, 10], [50, 30, 20]], correction=False).pvalue
    assert (ours.kind, ours.ks_method) == (FeatureKind.CATEGORY, "chi-square")
    assert ours.ks_p_value == pytest.approx(theirs)
    assert ours.ks == pytest.approx(0.1)


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(1, 50), elements=far | st.sampled_from([np.nan, np.inf, -np.inf])))
def test_identical_data_give_zero(values: Any) -> None:
    same = _compare(values, values)
    assert (same.ks, same.kl, same.kl_reverse, same.js, same.psi) == (0, 0, 0, 0, 0)
    assert same.wasserstein == pytest.approx(0, abs=1e-9)
    assert same.p_value == 1


@settings(max_examples=25, deadline=None)
@given(
    arrays(float, st.integers(1, 40), elements=any_float),
    arrays(float, st.integers(1, 40), elements=any_float),
)
def test_no_input_gives_nan_or_crashes(reference: Any, live: Any) -> None:
    decision = _decide({"x": reference}, {"x": live})
    _check_sane(decision.features[0])
    assert 0 <= decision.score <= 1
    assert 0 <= decision.confidence <= 1


def _check_sane(feature: FeatureDrift) -> None:
    for name in ("score", "ks", "ks_p_value", "p_value", "adjusted_p_value", "missing_share", "out_of_range_share"):
        assert 0 <= getattr(feature, name) <= 1, name
    for name in ("kl", "kl_reverse", "js", "psi", "wasserstein", "ks_threshold", "kl_threshold", "effective_rows"):
        value = getattr(feature, name)
        assert np.isfinite(value), name
        assert value >= 0, name


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(2, 40), elements=finite), st.integers(1, 10), st.randoms(use_true_random=False))
def test_order_parts_and_unit_of_the_live_data_do_not_matter(live: Any, parts: int, random: Any) -> None:
    reference = np.random.default_rng(3).normal(0, 1e5, 200)
    whole = _compare(reference, live)
    shuffled = live.copy()
    random.shuffle(shuffled)
    assert _compare(reference, shuffled, parts).ks == whole.ks
    assert _compare(reference, shuffled, parts).kl == whole.kl
    # A power of two changes no bit of a mantissa, so ties stay ties.
    other_unit = _compare(reference * 1024, live * 1024)
    assert (other_unit.ks, other_unit.kl) == (whole.ks, whole.kl)
    assert other_unit.wasserstein == pytest.approx(whole.wasserstein, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, 2.0, np.nan, -np.inf, np.inf],
        [3.0],
        [np.nan, np.nan],
        [5.0] * 20,
        np.array(["a", "b", None, "b", ""], dtype=object),
        np.array([None, None], dtype=object),
        np.array([True, False, True]),
    ],
    ids=["mixed", "one row", "all missing", "constant", "text", "no text", "truth"],
)
def test_profile_survives_the_way_to_the_disk_and_back(values: Any) -> None:
    profile = build_profile({"x": np.asarray(values)})
    again = from_bytes(to_bytes(profile))
    assert isinstance(again, Profile)
    assert to_bytes(again) == to_bytes(profile)
    live = count_live(again, [{"x": np.asarray(values)}], "data")
    assert compare(again, live["x"], again.features[0]).ks == 0


def test_missing_values_count_as_a_value_below_all_others() -> None:
    reference = np.arange(100.0)
    live = np.where(np.arange(100) < 60, np.nan, np.arange(100.0))
    found = _compare(reference, live)
    assert found.missing_share == 0.6
    assert found.ks == pytest.approx(0.6)
    assert _decide({"x": reference}, {"x": live}).drift_detected


def test_new_and_vanished_categories_are_named() -> None:
    reference = np.array(["calm", "calm", "crisis", "calm"] * 30, dtype=object)
    live = np.array(["calm", "war", None] * 40, dtype=object)
    found = _compare(reference, live)
    assert (found.new_categories, found.vanished_categories) == (("war",), ("crisis",))
    assert found.out_of_range_share == pytest.approx(1 / 3)
    assert found.missing_share == pytest.approx(1 / 3)


def test_values_outside_the_range_of_the_reference_are_counted() -> None:
    found = _compare(np.linspace(0, 1, 50), np.array([-1.0, 0.5, 0.7, 2.0, np.inf]))
    assert found.out_of_range_share == pytest.approx(0.6)


def test_threshold_of_a_feature_and_ignoring_it_decide() -> None:
    random = np.random.default_rng(11)
    reference, live = {"x": random.normal(size=1000)}, {"x": random.normal(1.0, size=500)}
    assert _decide(reference, live).drivers == ("x",)
    assert not _decide(reference, live, features={"x": FeatureThresholds(ks=0.99, kl=50.0)}).drift_detected
    ignored = _decide(reference, live, features={"x": FeatureThresholds(ignored=True)})
    assert (ignored.drift_detected, ignored.score, ignored.confidence) == (False, 0, 0)
    assert ignored.features[0].ks > 0.3


def test_few_rows_say_what_limits_them() -> None:
    decision = _decide({"x": np.random.default_rng(1).normal(size=500)}, {"x": [0.1, 0.2, 0.3]})
    assert not decision.drift_detected
    assert any("only 3 rows" in caveat for caveat in decision.caveats)


def test_large_independent_sample_sees_a_shift_that_is_real_and_not_one_that_is_tiny() -> None:
    random = np.random.default_rng(2)
    reference = random.normal(size=20_000)
    tiny = _decide({"x": reference}, {"x": random.normal(0.05, size=100_000)})
    assert tiny.features[0].ks_p_value < 1e-3  # A p-value alone would call this drift.
    assert not tiny.drift_detected
    assert _decide({"x": reference}, {"x": random.normal(0.8, size=100_000)}).drift_detected


def _persistent(random: np.random.Generator, rows: int) -> Any:
    """An AR(1) series with a coefficient of 0.95, started in its stationary distribution."""
    noise = random.normal(size=rows)
    series = np.empty(rows)
    series[0] = noise[0] / np.sqrt(1 - 0.95**2)
    for i in range(1, rows):
        series[i] = 0.95 * series[i - 1] + noise[i]
    return series


def test_persistent_series_does_not_raise_the_false_alarms_that_naive_ks_does() -> None:
    random = np.random.default_rng(4)
    ours = naive = 0
    for _ in range(40):
        reference = _persistent(random, 1000)
        profile = build_profile({"x": reference})
        live = _persistent(random, 63)
        counted = count_live(profile, [{"x": live}], "data")
        decision = decide([compare(profile, counted["x"], profile.features[0])], DriftThresholds(), 63)
        ours += decision.drift_detected
        naive += decision.features[0].ks_p_value < 0.05
    assert naive > 25
    assert ours <= 6


def test_exceedance_counts_the_stretches_that_differ_at_least_so_much() -> None:
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert exceedance(null, 0.0) == 1
    assert exceedance(null, 0.3) == 3 / 5
    assert exceedance(null, 0.5) == 1 / 5


def test_categories_are_told_apart_to_the_last_character() -> None:
    reference = np.array(["a", "a\0", "b", "x" * 20_000], dtype=object)
    assert _compare(reference, reference).ks == 0
    assert _compare(reference, np.array(["a", "a", "b", "b"], dtype=object)).vanished_categories == (
        "a\0",
        "x" * 20_000,
    )
