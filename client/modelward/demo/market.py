"""The demo's market data: the S&P 500 by day, its features, and the label to predict."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from arch.data import sp500

FEATURES = ("return_1d", "return_5d", "return_21d", "volatility_21d", "volume_z")
MONTH = 21
"""Trading days in a month."""
QUARTER = 63
"""Trading days in a quarter."""
YEAR = 252
"""Trading days in a year."""


@dataclass(frozen=True)
class Sample:
    """Consecutive days, with features known at the close of each and the next day's label."""

    features: pd.DataFrame
    """Columns `FEATURES`, by day."""
    label: pd.Series
    """1 where the next day's close was higher, else 0; by day."""

    @property
    def first(self) -> str:
        return f"{self.features.index[0]:%Y-%m-%d}"

    @property
    def last(self) -> str:
        return f"{self.features.index[-1]:%Y-%m-%d}"

    def __len__(self) -> int:
        return len(self.features)

    def between(self, first: str, last: str) -> "Sample":
        """Return the days from `first` to `last`, both included; given as `2003`, `2003-06` or `2003-06-30`."""
        return Sample(self.features.loc[first:last], self.label.loc[first:last])

    def split(self, rows: int) -> tuple["Sample", "Sample"]:
        """Return the days before the last `rows`, and the last `rows`."""
        return self._cut(slice(None, -rows)), self._cut(slice(-rows, None))

    def until(self, rows: int) -> "Sample":
        """Return the first `rows` days."""
        return self._cut(slice(None, rows))

    def before(self, day: str, rows: int) -> "Sample":
        """Return the last `rows` days up to and including a day."""
        return Sample(self.features.loc[:day].tail(rows), self.label.loc[:day].tail(rows))

    def quarters(self) -> Iterator[tuple[str, "Sample"]]:
        """Yield each calendar quarter with its name, such as `2008 Q3`."""
        names = pd.PeriodIndex(self.features.index, freq="Q")
        for name in names.unique():
            yield f"{name.year} Q{name.quarter}", Sample(self.features[names == name], self.label[names == name])

    def _cut(self, rows: slice) -> "Sample":
        return Sample(self.features.iloc[rows], self.label.iloc[rows])


def load_prices() -> pd.DataFrame:
    """Return the S&P 500 from 1999 to 2018 by day, with the columns `Adj Close` and `Volume` among others."""
    prices: pd.DataFrame = sp500.load()
    return prices


def load_market() -> Sample:
    """Return every day for which all features and the next day's direction are known."""
    prices = load_prices()
    features, label = features_of(prices), label_of(prices)
    known = features.notna().all(axis=1) & label.notna()
    return Sample(features[known], label[known].astype(np.int64))


def features_of(prices: pd.DataFrame) -> pd.DataFrame:
    """Compute the features known at each day's close.

    Args:
        prices: columns `Adj Close` and `Volume`, by day in order.

    Returns:
        a frame of float64 by day, NaN where there are not enough previous days. Returns are differences of log prices;
        the volatility is the annualized standard deviation of a month's daily returns; the volume is its logarithm, in
        standard deviations from its mean over a quarter.
    """
    log_price, log_volume = np.log(prices["Adj Close"]), np.log(prices["Volume"])
    daily = log_price.diff()
    volume = log_volume.rolling(QUARTER)
    return pd.DataFrame(
        {
            "return_1d": daily,
            "return_5d": log_price.diff(5),
            "return_21d": log_price.diff(MONTH),
            "volatility_21d": daily.rolling(MONTH).std() * np.sqrt(YEAR),
            "volume_z": (log_volume - volume.mean()) / volume.std(),
        }
    )


def label_of(prices: pd.DataFrame) -> pd.Series:
    """Return 1.0 for each day whose next day closed higher, 0.0 where it did not, NaN for the last day."""
    close = prices["Adj Close"]
    return (close.shift(-1) > close).astype(float).where(close.shift(-1).notna())
