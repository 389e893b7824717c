"""Drift by segments through the front door: the S&P 500 and its regimes, and sectors of a panel."""

import asyncio
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from arch.data import sp500

from modelward import AsyncClient, ClosureSessions, DriftReport, SegmentAdjustment, errors
from modelward._coerce import AnyVersion
from modelward_server.exchange_sessions import closures, this_month

pytestmark = pytest.mark.system  # Reads a calendar, and compares dozens of segments.

CRISIS = ("2007-10-01", "2009-03-31")
CALM = {year: (year, year) for year in ("2013", "2014", "2017")}


def market() -> pd.DataFrame:
    """Return daily returns and ranges in percent."""
    prices = sp500.load()
    returns = 100 * np.log(prices["Adj Close"]).diff()
    spread = 100 * np.log(prices["High"] / prices["Low"])
    return pd.DataFrame({"ret": returns, "size": returns.abs(), "range": spread, "date": prices.index}).dropna()


def fields(report: DriftReport) -> Any:
    return [(one.name, one.rows, one.drift_detected, one.p_value, one.adjusted_p_value) for one in report.segments]


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Any) -> AnyVersion:
    (tmp_path / "model.bin").write_bytes(b"model")
    return await client.register(name, tmp_path / "model.bin")


async def test_the_crisis_drifts_and_calm_years_do_not(client: AsyncClient, version: AnyVersion) -> None:
    data = market()
    await client.set_reference(version, data["2003":"2006"], time="date")
    regimes = {"2008": CRISIS, "2020": ("2020-02-01", "2020-06-30"), **CALM}
    report = await client.detect_drift(version, data["2007":], time="date", regimes=regimes)
    assert report.segment_adjustment is SegmentAdjustment.BENJAMINI_HOCHBERG
    worst, *others = report.segments
    assert (worst.name, worst.drift_detected, worst.rows) == ("2008", True, 378)
    assert [one.name for one in others if one.drift_detected] == []
    assert report.segment("2020").note == "has no rows"  # The data end in 2018.
    assert await client.get_drift_report(report.report_id) == report
    shuffled = await client.detect_drift(version, data["2007":].sample(frac=1), time="date", regimes=regimes)
    assert fields(shuffled) == fields(report)
    page = (await client.render_drift_report(report.report_id)).decode()
    assert "not tested: has no rows" in page
    assert "Benjamini and Hochberg" in page


async def test_sectors_are_adjusted_for_their_dependence(client: AsyncClient, version: AnyVersion) -> None:
    random = np.random.default_rng(5)
    days = pd.bdate_range("2024-01-02", periods=160)
    panel = pd.DataFrame({"date": days.repeat(9), "symbol": [f"S{n}" for n in range(9)] * 160})
    panel["sector"] = panel["symbol"].map(lambda symbol: ["Banks", "Energy", "Tech"][int(symbol[1]) // 3])
    panel["x"] = (random.normal(size=(160, 1)) + random.normal(size=(160, 9))).ravel()
    keys: dict[str, Any] = {"time": "date", "group": "symbol"}
    await client.set_reference(version, panel[: 120 * 9], **keys, ignore=["sector"])
    live = panel[120 * 9 :].copy()
    live.loc[live["sector"] == "Energy", "x"] += 3
    live.loc[live.index[:3], "sector"] = None
    after = ClosureSessions("XSHG", days=3, first=1, last=3)
    report = await client.detect_drift(version, live, **keys, by="sector", regimes={"after closures": after})
    assert [(one.name, one.drift_detected) for one in report.segments[:3]] == [
        ("Energy", True),
        ("Tech", False),
        ("Banks", False),
    ]
    assert report.segment_adjustment is SegmentAdjustment.BENJAMINI_YEKUTIELI
    assert "3 rows have no 'sector' and are in no segment of it" in report.caveats
    small = report.segment("after closures")  # 2024-07-01 to 2024-08-12 has no closure of three days in Shanghai.
    assert (small.p_value, small.note) == (None, "has no rows")
    with pytest.raises(errors.InvalidField, match="a feature of reference 'default'"):
        await client.detect_drift(version, live.drop(columns="sector"), **keys, by="x")


async def test_sectors_that_always_differ_drift_from_all_rows_but_not_from_their_own(
    client: AsyncClient, version: AnyVersion
) -> None:
    random = np.random.default_rng(8)
    days = pd.bdate_range("2023-01-02", periods=200)
    panel = pd.DataFrame(
        {"date": days.repeat(4), "symbol": list("abcd") * 200, "sector": ["Tech", "Tech", "Oil", "Oil"] * 200}
    )
    panel["x"] = random.normal(size=800) + np.where(panel["sector"] == "Oil", 3.0, 0.0)
    keys: dict[str, Any] = {"time": "date", "group": "symbol", "by": "sector"}
    drifted = []
    for own in (True, False):
        reference = await client.set_reference(
            version, panel[:600], **keys | ({} if own else {"by": None}), ignore=[] if own else ["sector"]
        )
        assert [(one.name, one.rows) for one in reference.segments] == [("Oil", 300), ("Tech", 300)] * own
        report = await client.detect_drift(version, panel[600:], **keys)
        drifted.append([one.drift_detected for one in report.segments])
        assert {(one.own_reference, one.reference_rows) for one in report.segments} == {(own, 300 if own else 600)}
        assert any("set the reference by 'sector'" in caveat for caveat in report.caveats) is not own
    assert drifted == [[False, False], [True, True]]


async def test_sessions_after_holidays_are_compared_with_sessions_after_holidays(
    client: AsyncClient, version: AnyVersion
) -> None:
    """Volumes after closures of Shanghai are always lower, which is no drift from other sessions after closures."""
    regime = ClosureSessions("XSHG", days=4, first=1, last=10)
    days = pd.bdate_range("2016-01-04", "2024-12-31")
    random = np.random.default_rng(2)
    places = closures("XSHG", 4, this_month())
    after = np.isin(days.values.astype("M8[D]"), places.days[places.between(1, 10)])
    data = pd.DataFrame({"date": days, "volume": random.normal(size=len(days)) - 4.0 * after})
    past, live = data[data["date"] < "2023"], data[data["date"] >= "2023"]
    reference = await client.set_reference(version, past, name="after-holidays", time="date", regime=regime)
    assert (reference.regime, reference.rows) == (regime, int(after[: len(past)].sum()))
    assert await client.get_reference(version, name="after-holidays") == reference
    await client.set_reference(version, past, time="date")
    report = await client.detect_drift(version, live, reference="after-holidays", time="date")
    held = int(after[len(past) :].sum())
    assert (report.drift_detected, report.rows) == (False, held)
    assert f"{len(live) - held} of {len(live)} rows are not of the sessions of 'after-holidays'" in str(report.caveats)
    whole = await client.detect_drift(version, live, time="date", regimes={"after": regime})
    assert whole.segment("after").drift_detected
    assert [one.name for one in whole.references] == ["default"]
    observer: Any = await client.observe(version, reference="after-holidays", rows=held, sender="desk", time="date")
    add: Any = observer.add if iscoroutinefunction(observer.add) else partial(asyncio.to_thread, observer.add)
    answers = [await add(part) for part in (live[: len(live) // 2], live[len(live) // 2 :])]
    [window] = [report for answer in answers for report in answer.reports]
    assert (window.rows, window.drift_detected) == (held, False)
    with pytest.raises(errors.InvalidField, match="none of the 10 rows"):
        await client.detect_drift(version, live[60:70], reference="after-holidays", time="date")
    with pytest.raises(errors.InvalidField, match="has no rows in the data"):
        await client.set_reference(version, past, name="none", time="date", regime=("2030", "2031"))
    with pytest.raises(errors.InvalidField, match="needs the time of each row"):
        await client.set_reference(version, past[["volume"]], name="none", regime=regime)
