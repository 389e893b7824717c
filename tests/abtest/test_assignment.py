"""Who gets which variant: GrowthBook's published cases, and what must hold of any assignment."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from modelward import AbMetric, AbNamespace, AbTest, AbTestState, Variant, VersionRef
from modelward.assignment import BUCKETS, assign, bucket, fnv1a_32, in_namespace, ranges
from tests.support.abtest_known_answers import HASHES, NAMESPACES
from tests.support.scale import examples

NOW = datetime(2026, 3, 2, 14, 31, tzinfo=UTC)
TEST = AbTest(
    test="spx-exits",
    description="",
    variants=(Variant("champion", VersionRef("spx", 1)), Variant("challenger", VersionRef("spx", 2))),
    coverage=1.0,
    salt="spx-exits",
    namespace=None,
    unit="account",
    primary_metric=AbMetric("pnl_bps"),
    guardrails=(),
    shadow=False,
    confidence_level=0.95,
    block=None,
    state=AbTestState.RUNNING,
    conclusion=None,
    created_by="ann",
    created_at=NOW,
    etag="r1",
)
UNITS = [f"account-{number}" for number in range(20_000)]


@pytest.mark.parametrize(("text", "expected"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_hash_is_that_of_the_fnv_reference(text: str, expected: int) -> None:
    """Vectors of Landon Curt Noll's reference implementation."""
    assert fnv1a_32(text) == expected


@pytest.mark.parametrize(("salt", "unit", "expected"), HASHES)
def test_bucket_is_growthbooks(salt: str, unit: str, expected: int) -> None:
    """The cases of hash version 2 in growthbook/packages/sdk-js/test/cases.json."""
    assert bucket(salt, unit) == expected


@pytest.mark.parametrize(
    ("weights", "coverage", "expected"),
    [
        ([1, 1], 1.0, [(0, 0.5), (0.5, 1)]),
        ([1, 1], 0.5, [(0, 0.25), (0.5, 0.75)]),
        ([0.2, 0.3, 0.5], 0.2, [(0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
        ([40, 60], 1.0, [(0, 0.4), (0.4, 1)]),
        ([1, 1], 0.0, [(0, 0), (0.5, 0.5)]),
        ([1, 1, 1, 1], 1.0, [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]),
        ([0.2, 0.3, 0.5], 1.0, [(0, 0.2), (0.2, 0.5), (0.5, 1)]),
    ],
)
def test_ranges_are_growthbooks(weights: list[float], coverage: float, expected: list[tuple[float, float]]) -> None:
    """Cases of getBucketRange in the same file."""
    assert [pytest.approx(pair) for pair in expected] == list(ranges(weights, coverage))


@pytest.mark.parametrize(("unit", "namespace", "expected"), NAMESPACES)
def test_namespace_is_growthbooks(unit: str, namespace: str, expected: bool) -> None:
    """Cases of inNamespace in the same file."""
    assert in_namespace(unit, AbNamespace(namespace, 0.0, 0.4)) is expected
    assert in_namespace(unit, AbNamespace(namespace, 0.4, 1.0)) is not expected


def test_units_are_dealt_by_the_weights() -> None:
    test = replace(TEST, variants=(replace(TEST.variants[0], weight=3.0), *TEST.variants[1:]))
    dealt = Counter(assign(test, unit).variant.name for unit in UNITS)
    assert chisquare([dealt["champion"], dealt["challenger"]], [15_000, 5_000]).pvalue > 0.001


def test_buckets_are_filled_evenly() -> None:
    filled = Counter(bucket("spx-exits", unit) * 100 // BUCKETS for unit in UNITS)
    assert chisquare([filled[place] for place in range(100)]).pvalue > 0.001


@pytest.mark.system
def test_tests_with_other_salts_are_independent() -> None:
    other = replace(TEST, salt="spx-entries")
    pairs = Counter((assign(TEST, unit).variant.name, assign(other, unit).variant.name) for unit in UNITS)
    names = [variant.name for variant in TEST.variants]
    assert chi2_contingency([[pairs[one, two] for two in names] for one in names]).pvalue > 0.001


def test_disjoint_shares_of_a_namespace_share_no_unit() -> None:
    one, two = (replace(TEST, namespace=AbNamespace("exits", start, start + 0.5)) for start in (0.0, 0.5))
    assert all(assign(one, unit).in_test != assign(two, unit).in_test for unit in UNITS[:2000])


def test_who_takes_part_still_does_when_the_coverage_grows() -> None:
    narrow, wide = replace(TEST, coverage=0.1), replace(TEST, coverage=0.5)
    taking_part = [unit for unit in UNITS if assign(narrow, unit).in_test]
    assert 0.09 < len(taking_part) / len(UNITS) < 0.11
    assert all(assign(narrow, unit) == assign(wide, unit) for unit in taking_part)


def test_unit_that_takes_no_part_and_unit_of_a_shadow_test_get_the_control() -> None:
    covered = replace(TEST, coverage=0.5)
    outside = next(assign(covered, unit) for unit in UNITS if not assign(covered, unit).in_test)
    assert outside.variant.name == "champion"
    shadow = [assign(replace(covered, shadow=True), unit) for unit in UNITS[:200]]
    assert {one.variant.name for one in shadow} == {"champion"}
    assert [one.in_test for one in shadow] == [assign(covered, unit).in_test for unit in UNITS[:200]]


def test_a_coverage_of_zero_is_nobody() -> None:
    nobody = replace(TEST, coverage=0.0)
    assert not any(assign(nobody, unit).in_test for unit in UNITS[:2000])


def test_weights_are_added_up_alike_by_every_python() -> None:
    """Python 3.12 corrects the rounding of its `sum`, by which 0.6, 0.3 and 0.1 would end elsewhere."""
    found = list(ranges([0.6, 0.3, 0.1], 1.0))
    total = 0.6 + 0.3 + 0.1
    assert total == 0.9999999999999999
    shares = [0.6 / total, 0.3 / total, 0.1 / total]
    assert found == [
        (0.0, shares[0]),
        (shares[0], shares[0] + shares[1]),
        (shares[0] + shares[1], shares[0] + shares[1] + shares[2]),
    ]


@settings(max_examples=examples(50))
@given(
    unit=st.text(min_size=1, max_size=256),
    salt=st.text(),
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=8),
    coverage=st.floats(0.01, 1),
)
def test_every_unit_has_one_place_and_keeps_it(unit: str, salt: str, weights: list[float], coverage: float) -> None:
    variants = tuple(Variant(f"v{number}", VersionRef("m", 1), weight) for number, weight in enumerate(weights))
    test = replace(TEST, variants=variants, salt=salt, coverage=coverage)
    first = assign(test, unit)
    assert first == assign(test, unit)
    assert 0 <= first.bucket < BUCKETS
    shares = list(ranges(weights, coverage))
    holding = [start <= first.bucket / BUCKETS < end for start, end in shares]
    assert sum(holding) == first.in_test
    assert not first.in_test or holding[variants.index(first.variant)]
