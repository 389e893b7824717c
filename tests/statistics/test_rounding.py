"""Rounding is no difference: the rule itself, in every unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelward_server.statistics.rounding import (
    differs,
    equalize,
    equalize_ties,
    merge_near_duplicates,
    size_of,
    snap_to,
    unit_of,
    varies,
    zero_rounding_errors,
)
from tests.support.scale import examples

NEARLY = 0.1 + 0.2
"""0.3 but for its last digit."""


@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e300, 2.0**-1000, -1.0])
def test_what_differs_by_rounding_alone_does_not_vary_in_any_unit(unit: float) -> None:
    assert not varies(np.array([0.3, NEARLY, 0.3]) * unit)
    assert varies(np.array([0.3, 0.3 + 1e-9]) * unit)
    assert not differs(0.3 * unit, NEARLY * unit)


def test_size_of_what_was_subtracted_is_what_counts() -> None:
    assert varies([0.0, 1e-17])
    assert not varies([0.0, 1e-17], size=0.3)
    assert zero_rounding_errors([1e-17, -1e-17, 1e-3], 0.3).tolist() == [0.0, 0.0, 1e-3]


def test_one_value_and_none_do_not_vary_and_have_a_unit() -> None:
    assert not varies([])
    assert not varies([5.0])
    assert (size_of([]), size_of([np.nan, np.inf, -3.0])) == (0.0, 3.0)
    assert unit_of([]) == unit_of([0.0, -0.0]) == 1.0
    assert not varies([-1.7e308, -1.7e308])
    assert varies([-1.7e308, 1.7e308])


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_in_its_unit_a_number_is_between_1_and_2_and_nothing_is_lost(value: float) -> None:
    inside = value / unit_of([value])
    assert 1 <= abs(inside) < 2
    assert inside * unit_of([value]) == value


def test_series_that_differ_by_rounding_become_the_same_and_others_stay() -> None:
    values = np.array([[0.3, 1.0, 1e-17, 5.0], [NEARLY, 2.0, 0.0, 5.0 + 1e-15], [0.4, 1.0, 3.0, 4.0]])
    same = equalize(values, size_of(values))
    assert np.array_equal(same, [[0.3, 1.0, 0.0, 5.0], [0.3, 2.0, 0.0, 5.0], [0.4, 1.0, 3.0, 4.0]])
    assert np.array_equal(equalize(np.array([[1e-15], [2e-15]])), [[1e-15], [2e-15]])  # Each by its own size.


@settings(max_examples=examples(30))
@given(st.lists(st.sampled_from([0.3, NEARLY, -0.3, 1e-15, 2e-15, 0.0, 1e300]), max_size=8))
def test_ties_keep_the_order_of_what_differs(values: list[float]) -> None:
    given_values = np.array(values, np.float64)
    same = equalize_ties(given_values)
    assert len(set(same.tolist())) <= len(set(values))
    for one, other in zip(given_values, same, strict=True):
        assert not differs(float(one), float(other))
    order = np.argsort(given_values, kind="stable")
    assert (np.diff(same[order]) >= 0).all()


def test_values_that_differ_from_a_known_one_by_rounding_alone_are_that_one() -> None:
    known = np.array([-np.inf, -5.0, 0.0, 0.3, 1e300, np.inf])
    values = np.array([NEARLY, 1e-17, -5.0 - 1e-15, 0.31, 1e300 * (1 + 1e-15), np.inf, -np.inf, np.nan, 7.0])
    found = snap_to(values, known)
    assert found[:7].tolist() == [0.3, 0.0, -5.0, 0.31, 1e300, np.inf, -np.inf]
    assert np.isnan(found[7])
    assert found[8] == 7.0


def test_distinct_values_apart_by_rounding_alone_become_one() -> None:
    values = np.array([-np.inf, 0.3, NEARLY, 0.5, 1.7e308, np.inf])
    assert merge_near_duplicates(values).tolist() == [-np.inf, 0.3, 0.3, 0.5, 1.7e308, np.inf]
    assert merge_near_duplicates(np.empty(0)).size == 0
