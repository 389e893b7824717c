"""What the demo's model sees of the market must have been known when it sees it."""

import numpy as np
import pandas as pd
import pytest

from modelward.demo import market
from modelward.demo.market import FEATURES, features_of, label_of, load_market, load_prices


@pytest.mark.parametrize("day", ["2003-05-02", "2006-12-29", "2008-10-10"])
def test_features_of_the_past_do_not_change_when_the_future_is_cut_off(day: str) -> None:
    prices = load_prices()
    pd.testing.assert_frame_equal(features_of(prices.loc[:day]), features_of(prices).loc[:day])


def test_features_of_the_past_do_not_change_when_the_future_is_another() -> None:
    prices = load_prices()
    other = prices.copy()
    other.loc["2007-01-01":, ["Adj Close", "Volume"]] *= 3
    pd.testing.assert_frame_equal(features_of(other).loc[:"2006"], features_of(prices).loc[:"2006"])


def test_the_label_is_the_direction_of_the_next_day_only() -> None:
    prices = pd.DataFrame({"Adj Close": [10.0, 11.0, 11.0, 9.0, 12.0]})
    np.testing.assert_array_equal(label_of(prices), [1.0, 0.0, 0.0, 1.0, np.nan])


def test_features_are_what_their_names_say() -> None:
    prices = load_prices()
    close, day = prices["Adj Close"].to_numpy(), 500
    row = features_of(prices).iloc[day]
    daily = np.diff(np.log(close))[day - market.MONTH : day]
    assert row["return_5d"] == pytest.approx(np.log(close[day] / close[day - 5]))
    assert row["return_21d"] == pytest.approx(daily.sum())
    assert row["volatility_21d"] == pytest.approx(np.std(daily, ddof=1) * np.sqrt(252))


def test_the_market_has_no_gaps() -> None:
    days = load_market()
    assert tuple(days.features.columns) == FEATURES
    assert np.isfinite(days.features.to_numpy()).all()
    assert set(days.label) == {0, 1}


def test_quarters_take_every_day_once() -> None:
    days = load_market().between("2007", "2010")
    quarters = dict(days.quarters())
    assert len(quarters) == 16
    assert next(iter(quarters)) == "2007 Q1"
    assert sum(map(len, quarters.values())) == len(days)
