"""The demo's picture can be drawn and read back."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from modelward.demo.chart import ProductionPeriod, QuarterOfDrift, draw

pytestmark = pytest.mark.system  # Takes seconds.


def test_the_picture_is_a_png_with_something_on_it(tmp_path: Path) -> None:
    days = pd.bdate_range("2008-01-01", "2008-06-30")
    quarters = [
        QuarterOfDrift("2008 Q1", days[0], days[64], {"a": 0.1, "b": 0.9}, ["b"], False),
        QuarterOfDrift("2008 Q2", days[65], days[-1], {"a": 0.8, "b": 0.9}, ["a", "b"], True),
    ]
    draw(
        tmp_path / "drift.png",
        pd.Series(range(len(days)), days, dtype=float),
        quarters,
        [ProductionPeriod("1", days[0], days[-1])],
    )
    picture = imread(tmp_path / "drift.png")
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    assert picture.std() > 0.05
