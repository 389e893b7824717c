"""The statistics against scipy, published values and their own laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from modelward.drift import DriftThresholds, FeatureDrift, FeatureKind, FeatureThresholds
from modelward_server.drift.compare import FeatureComparison, compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.histogram_sample import NumericHistogramSample
from modelward_server.drift.profile import Profile
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.profile_serialization import from_bytes, to_bytes
from modelward_server.drift.sample import LiveSample, count_live
from modelward_server.statistics.distances import (
    SINGLY,
    js_divergence,
    kl_divergence,
    ks_statistic,
    psi,
    smoothed,
    total_variation,
    wasserstein,
)
from modelward_server.statistics.kolmogorov import exact_ks_p_values, ks_p_value
from tests.support.scale import FULL, examples

finite = st.floats(-1e6, 1e6, width=32).filter(lambda value: value == 0 or abs(value) > 1e-9)
"""Numbers that differ from each other by more than rounding."""
any_float = st.floats(allow_nan=True, allow_infinity=True)
far = st.floats(-1e300, 1e300)
few_values = st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0])
weird = far | st.sampled_from([np.nan, np.inf, -np.inf])


def _compare(reference: Any, live: Any, parts: int = 1, kept_bytes: int = 1 << 30) -> FeatureComparison:
    """Compare one feature; with few bytes that may be kept, by counts that add up."""
    profile = build_profile({"x": np.asarray(reference)})
    taken = LiveSample({"default": profile}, "data", kept_bytes)
    for part in np.array_split(np.asarray(live), parts):
        taken.add({"x": part})
    return compare(profile, taken, "default").features[0]


def _decide(reference: dict[str, Any], live: dict[str, Any], **thresholds: Any) -> Decision:
    profile = build_profile({name: np.asarray(values) for name, values in reference.items()})
    batch = {name: np.asarray(values) for name, values in live.items()}
    taken = count_live({"default": profile}, [(batch, None)], "data")
    return decide(compare(profile, taken, "default"), DriftThresholds(**thresholds))


@settings(max_examples=examples(25))
@given(
    arrays(float, st.integers(2, 60), elements=finite | few_values),
    arrays(float, st.integers(1, 60), elements=finite | few_values),
    st.sampled_from([1 << 30, 1]),
)
def test_ks_equals_scipy_also_with_ties(reference: Any, live: Any, kept_bytes: int) -> None:
    ours = _compare(reference, live, 2, kept_bytes)
    method: Any = {"exact": "exact", "asymptotic": "asymp"}[ours.ks_method]
    theirs: Any = stats.ks_2samp(live, reference, method=method)
    assert ours.ks == pytest.approx(theirs.statistic, abs=1e-12)
    assert ours.ks_p_value == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.system
@pytest.mark.parametrize(("rows", "reference_rows"), [(5, 1200), (1500, 900), (3000, 5000), (70_000, 20_000)])
@pytest.mark.parametrize("decimals", [1, 3, 15])
def test_ks_of_large_samples_equals_scipy(rows: int, reference_rows: int, decimals: int) -> None:
    random = np.random.default_rng(rows)
    reference, live = random.normal(size=reference_rows).round(decimals), random.normal(0.02, 1, rows).round(decimals)
    theirs = stats.ks_2samp(live, reference, method="asymp")
    ours, counted = _compare(reference, live), _compare(reference, live, 3, 1)
    assert ours.ks == counted.ks == pytest.approx(theirs.statistic, abs=1e-12)
    if ours.ks_method == "asymptotic":
        assert ours.ks_p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    else:
        effective = rows * reference_rows / (rows + reference_rows)
        assert ours.ks_p_value == pytest.approx(stats.kstwobign.sf(np.sqrt(effective) * ours.ks), abs=1e-12)
        assert ours.ks_p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_p_value_says_its_method() -> None:
    assert _compare(np.arange(1000.0), np.arange(900.0)).ks_method == "exact"
    assert _compare(np.arange(1000.0), np.arange(1000.0)).ks_method == "asymptotic"
    assert ks_p_value(0.1, 1001, 1000)[1] == "asymptotic"
    assert ks_p_value(0.01, 100_000, 100_000)[1] == "limit"


@pytest.mark.parametrize(("rows", "reference_rows"), [(1, 2000), (7, 1200), (95, 20_000), (140, 10**7), (300, 2000)])
def test_asymptotic_p_value_is_scipys_for_few_rows(rows: int, reference_rows: int) -> None:
    effective = round(rows * reference_rows / (rows + reference_rows))
    for statistic in (0.0, 0.3 / effective, 0.5 / effective, *np.linspace(0.01, 1.0, 60)):
        p_value, method = ks_p_value(statistic, rows, reference_rows)
        assert p_value == pytest.approx(stats.kstwo.sf(statistic, effective), rel=1e-9, abs=1e-14)
        assert method == "asymptotic"


def test_exact_p_values_of_several_features_are_those_of_each() -> None:
    random = np.random.default_rng(4)
    reference, live = random.normal(size=(60, 3)), random.normal([0.0, 0.5, 3.0], size=(25, 3))
    each = [stats.ks_2samp(live[:, i], reference[:, i], method="exact").pvalue for i in range(3)]
    assert exact_ks_p_values(reference, live).tolist() == each


@pytest.mark.parametrize("rows", [25, 60])
def test_exact_p_values_are_computed_once_for_each_statistic(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    reference, live = random.normal(size=60), random.normal(0.7, 1, rows)
    first = _compare(reference, live)
    assert first.ks_p_value == pytest.approx(stats.ks_2samp(live, reference, method="exact").pvalue, rel=1e-12)
    monkeypatch.setattr("modelward_server.drift.exact_sample.exact_ks_p_values", None)  # A call would fail.
    again = _compare(np.exp(reference), np.exp(live))
    assert (again.ks, again.ks_p_value, again.ks_method) == (first.ks, first.ks_p_value, "exact")


@settings(max_examples=examples(25))
@given(
    arrays(float, st.integers(1, 60), elements=finite | few_values),
    arrays(float, st.integers(1, 60), elements=finite | few_values),
)
def test_few_and_many_live_values_have_the_same_statistic(some: Any, many: Any) -> None:
    """They are examined one by one, or in intervals of the reference's values."""
    many = np.repeat(many, SINGLY // len(many) + 1)
    (few, rows), (values, counts) = (np.unique(side, return_counts=True) for side in (some, many))
    forth = ks_statistic(few, rows.cumsum(), np.sort(many))
    assert ks_statistic(values, counts.cumsum(), np.sort(some)) == pytest.approx(forth, abs=1e-12)


def test_classifier_is_trained_only_where_it_counts() -> None:
    random = np.random.default_rng(12)
    reference = {name: random.normal(size=400) for name in "xy"}
    same = _decide(reference, {name: random.normal(size=100) for name in "xy"}).joint
    assert same.p_value > 0.05
    assert (same.auc, same.drifted, same.rows) == (0.0, False, 100)
    other = _decide(reference, {name: random.normal(2, size=100) for name in "xy"}).joint
    assert other.auc > 0.9


@settings(max_examples=examples(25))
@given(
    arrays(float, st.integers(1, 60), elements=finite | few_values),
    arrays(float, st.integers(1, 60), elements=finite | few_values),
)
def test_wasserstein_is_scipys(reference: Any, live: Any) -> None:
    theirs = stats.wasserstein_distance(live, reference)
    assert wasserstein(np.sort(live), np.sort(reference)) == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@settings(max_examples=examples(20))
@given(
    arrays(float, st.integers(2, 60), elements=finite, unique=True),
    arrays(float, st.integers(2, 60), elements=finite),
)
def test_wasserstein_of_counts_is_scipys_but_for_crossings_between_neighbours(reference: Any, live: Any) -> None:
    assume(reference.std() > 1e-3)
    theirs = stats.wasserstein_distance(live, reference) / reference.std()
    ours = _compare(reference, live, 2, 1).wasserstein
    widest_gap = np.diff(np.sort(reference)).max() / reference.std()
    assert ours <= theirs + 1e-6
    assert ours >= theirs - widest_gap - 1e-6


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    reference = np.random.default_rng(5).normal(size=4000)
    shifted = _compare(reference, reference + 2.0)
    assert shifted.wasserstein == pytest.approx(2.0 / reference.std(), rel=1e-9)
    assert _compare(reference, reference + 2.0, 4, 1).wasserstein == pytest.approx(shifted.wasserstein, rel=1e-9)


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


@settings(max_examples=examples(12))
@given(arrays(float, st.integers(1, 50), elements=weird), st.sampled_from([1 << 30, 1]))
@example(np.array([5.2e-303, 0.0]), 1)
def test_identical_data_give_zero(values: Any, kept_bytes: int) -> None:
    same = _compare(values, values, 1, kept_bytes)
    assert (same.ks, same.kl, same.kl_reverse, same.js, same.psi) == (0, 0, 0, 0, 0)
    assert same.wasserstein == pytest.approx(0, abs=1e-9)
    assert same.p_value == 1


@pytest.mark.system
@settings(max_examples=examples(15))
@given(
    arrays(float, st.integers(1, 40), elements=any_float | weird),
    arrays(float, st.integers(1, 40), elements=any_float | weird),
    st.sampled_from([1 << 30, 1]),
)
@example(np.array([8.98846567e307]), np.zeros(2), 1)
def test_no_input_gives_nan_or_crashes(reference: Any, live: Any, kept_bytes: int) -> None:
    profile = build_profile({"x": reference, "same": reference})
    taken = LiveSample({"default": profile}, "data", kept_bytes)
    taken.add({"x": live, "same": live})
    decision = decide(compare(profile, taken, "default"), DriftThresholds())
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
    shown = feature.histogram
    assert len(shown.live) == len(shown.reference) == max(len(shown.edges) + 1, len(shown.categories))
    assert np.isfinite(shown.edges).all()
    assert (np.diff(shown.edges) > 0).all()
    assert sum(shown.live) == pytest.approx(0 if feature.missing_share == 1 else 1)


@pytest.mark.system
@settings(max_examples=examples(12))
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
    live = count_live({"default": again}, [({"x": np.asarray(values)}, None)], "data")
    assert compare(again, live, "default").features[0].ks == 0


def test_missing_values_are_a_change_of_their_own() -> None:
    random = np.random.default_rng(1)
    reference, present = random.normal(size=400), random.normal(size=100)
    live = np.where(np.arange(100) < 60, np.nan, present)
    found = _decide({"x": reference}, {"x": live})
    assert found.features[0].missing_share == 0.6
    assert found.features[0].ks == pytest.approx(stats.ks_2samp(reference, present[60:]).statistic, abs=1e-12)
    assert found.drivers == ("x",)
    assert "missing in 60.0% of the rows, in the reference in 0%" in found.summary
    assert not _decide({"x": reference}, {"x": live}, missing=0.7, ks=0.9, kl=9.0, wasserstein=9.0).drift_detected


@pytest.mark.parametrize("kind", [float, object])
def test_all_missing_is_drift_of_what_was_there(kind: type) -> None:
    nothing = np.full(50, np.nan) if kind is float else np.full(50, None)
    there = np.arange(200.0) if kind is float else np.array(["a", "b"] * 100, dtype=object)
    found = _decide({"x": there}, {"x": nothing})
    assert found.drivers == ("x",)
    assert (found.features[0].ks, found.features[0].kl, found.features[0].psi) == (0, 0, 0)
    assert any("all values of x are missing" in caveat for caveat in found.caveats)
    assert not _decide({"x": nothing}, {"x": nothing}).drift_detected


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
    high = FeatureThresholds(ks=0.99, kl=50.0, wasserstein=50.0)
    assert not _decide(reference, live, features={"x": high}).drift_detected
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


@pytest.mark.system
@pytest.mark.parametrize("features", [1, 30, 200] if FULL else [1, 30])
def test_one_feature_among_many_is_found(features: int) -> None:
    random = np.random.default_rng(8)
    reference = {f"x{i}": random.normal(size=500) for i in range(features)}
    live = {f"x{i}": random.normal(size=200) for i in range(features)} | {"x0": random.normal(2.0, size=200)}
    found = _decide(reference, live)
    assert found.drivers == ("x0",)
    assert found.confidence > 0.99


def test_broken_correlation_is_found_though_no_feature_changed() -> None:
    random = np.random.default_rng(9)
    first = random.normal(size=1000)
    reference = {"x": first, "y": first + random.normal(scale=0.3, size=1000)}
    calm, broken = random.normal(size=400), random.normal(size=400)
    same = _decide(reference, {"x": calm, "y": calm + random.normal(scale=0.3, size=400)})
    other = _decide(reference, {"x": broken, "y": -broken + random.normal(scale=0.3, size=400)})
    assert not same.drift_detected
    assert other.drivers == ()
    assert other.joint.drifted
    assert other.joint.auc > 0.9
    assert other.summary.startswith("Joint drift of the features")


def test_parts_that_were_counted_elsewhere_add_up() -> None:
    random = np.random.default_rng(10)
    reference = {"x": random.normal(size=2000), "c": random.choice(["a", "b", "c"], 2000).astype(object)}
    live = {"x": random.standard_t(3, size=5000), "c": random.choice(["a", "b", "new"], 5000).astype(object)}
    live["x"][::7] = np.nan
    profile = build_profile(reference)
    whole = LiveSample({"default": profile}, "data", kept_bytes=1)
    whole.add(live)
    parts = [LiveSample({"default": profile}, "data") for _ in range(3)]
    for part, rows in zip(parts, (slice(0, 11), slice(11, 3000), slice(3000, None)), strict=True):
        part.add({name: values[rows] for name, values in live.items()})
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    one, other = (compare(profile, taken, "default") for taken in (whole, parts[0]))
    for ours, theirs in zip(one.features, other.features, strict=True):
        for field in ("ks", "kl", "js", "psi", "chi_square", "missing_share", "new_categories", "histogram", "p_value"):
            assert getattr(ours, field) == getattr(theirs, field), field
        assert ours.wasserstein == pytest.approx(theirs.wasserstein, rel=1e-12)
    assert isinstance(whole.of("default")["x"], NumericHistogramSample)


def test_categories_are_told_apart_to_the_last_character() -> None:
    reference = np.array(["a", "a\0", "b", "x" * 20_000], dtype=object)
    assert _compare(reference, reference).ks == 0
    assert _compare(reference, np.array(["a", "a", "b", "b"], dtype=object)).vanished_categories == (
        "a\0",
        "x" * 20_000,
    )
