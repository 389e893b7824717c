"""How figures are written: what a reader concludes from the text holds for the number."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelward.shared import figures

finite = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.000"), (0.036, "0.036"), (0.5, "0.500"), (2.4e-5, "2.4e-05"), (-0.0004, "-0.0004"), (12.3456, "12.346")],
)
def test_a_statistic_has_three_decimals_or_three_digits(value: float, text: str) -> None:
    assert figures.statistic(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.571234, "0.5712"), (12345.6, "12,346"), (9999.6, "10,000"), (3e8, "3e+08"), (-1.5, "-1.5")],
)
def test_a_metric_has_four_digits_and_every_whole_one(value: float, text: str) -> None:
    assert figures.metric(value) == text


@pytest.mark.parametrize("write", [figures.statistic, figures.metric, figures.percent, figures.probability])
def test_what_is_not_finite_is_named(write: object) -> None:
    assert callable(write)
    assert [write(value) for value in (math.nan, math.inf, -math.inf)] == ["n/a", "∞", "-∞"]


@given(share=shares)
def test_only_none_and_all_are_written_as_none_and_all(share: float) -> None:
    text = figures.percent(share)
    assert (text == "0%", text == "100%") == (share == 0, share == 1)
    assert text not in {"0.0%", "100.0%"}


@given(p_value=shares)
def test_a_p_value_is_never_rounded_to_zero_or_one(p_value: float) -> None:
    text = figures.probability(p_value)
    assert (text == "0", text == "1") == (p_value == 0, p_value == 1)
    assert text not in {"0.000", "1.000"}
    assert figures.p_equals(p_value) == f"p {text[0]} {text[1:]}" if text[0] in "<>" else f"p = {text}"


@given(value=finite, threshold=finite)
def test_a_figure_and_its_threshold_are_told_apart(value: float, threshold: float) -> None:
    assume(value != threshold)
    for write in (figures.statistic, figures.metric):
        shown, needed = figures.beside(value, threshold, write)
        assert shown != needed


@given(value=shares)
def test_a_drift_score_below_its_threshold_is_not_written_as_it(value: float) -> None:
    shown = float(figures.score(value))
    assert (shown < 0.5, shown > 0.5) == (value < 0.5, value > 0.5)


def test_a_value_just_under_its_threshold_has_the_digit_that_tells() -> None:
    assert figures.beside(0.19996, 0.2) == ("0.19996", "0.2")
    assert figures.beside(0.0499, 0.05, figures.probability) == ("0.0499", "0.05")
    assert figures.beside(0.99996, 0.99999, figures.percent) == ("99.996%", "99.999%")


def test_a_p_value_beside_its_level_has_the_digit_that_tells() -> None:
    assert [figures.p_equals(p, 0.05) for p in (0.0496, 0.0504, 0.02, 1e-9)] == [
        *("p = 0.0496", "p = 0.0504", "p = 0.020", "p < 0.001"),
    ]


def test_zero_has_no_sign() -> None:
    for write in (figures.statistic, figures.metric, figures.difference, figures.percent, figures.probability):
        assert write(-0.0) == write(0.0)


def test_a_difference_has_its_sign() -> None:
    assert [figures.difference(value) for value in (0.25, -0.25, 0.0)] == ["+0.25", "-0.25", "0"]
