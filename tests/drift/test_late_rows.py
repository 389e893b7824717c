"""Live rows with a time belong to the window of their time; those that are older than a closed window are late."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelward import AsyncClient, DriftReport, TimeWindow, errors
from modelward._sync.observe import Observer

pytestmark = pytest.mark.system  # Takes seconds.

RANDOM = np.random.default_rng(6)
PANEL = pd.DataFrame(
    {
        "date": pd.date_range("2024-01-01", periods=60).repeat(2),
        "symbol": ["A", "B"] * 60,
        "ret": RANDOM.normal(size=120),
        "volume": RANDOM.normal(size=120),
    }
)


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> str:
    (tmp_path / "model.bin").write_bytes(b"model")
    reference: dict[str, Any] = {"reference": PANEL, "time": "date", "group": "symbol"}
    return str(await client.register(name, tmp_path / "model.bin", **reference))


async def add(observer: Any, rows: Any, **keys: Any) -> Any:
    """Send rows by an observer of either kind."""
    sent = observer.add(rows, **keys)
    return sent if isinstance(observer, Observer) else await sent


def figures(report: DriftReport) -> Any:
    return report.features, report.joint, report.window, report.caveats, report.late_rows


async def test_window_of_rows_is_sorted_when_it_closes_and_late_rows_are_left_out(
    client: AsyncClient, version: str
) -> None:
    observer = await client.observe(version, sender="in order", rows=20)
    assert (await add(observer, PANEL[:14])).late_rows == 0
    closed = await add(observer, PANEL[14:24])
    shuffled = await client.observe(version, sender="out of order", rows=20)
    await add(shuffled, PANEL[:14].sample(frac=1, random_state=1))
    again = await add(shuffled, PANEL[14:24].sample(frac=1, random_state=2))
    [report], [other] = closed.reports, again.reports
    assert report.window == TimeWindow("date", "symbol", "2024-01-01", "2024-01-10", times=10, groups=2)
    assert figures(other) == figures(report)
    assert (report.rows, report.late_rows, closed.late_rows) == (20, 0, 0)
    # The second row is of the last day of the closed window, which is not older.
    late = await add(observer, PANEL[[*[False] * 17, True, True, *[False] * 101]])
    assert (late.acknowledged, late.late_rows, late.reports) == (
        3,
        1,
        (),
    )
    resumed = await client.observe(version, sender="in order", rows=20)
    [second] = (await add(resumed, PANEL[24:39])).reports
    assert (second.rows, second.late_rows) == (20, 1)
    assert "1 late rows, older than a window that had closed, were left out" in second.caveats
    assert await client.get_drift_report(second.report_id) == second


async def test_windows_of_a_duration_close_by_the_times_of_rows(client: AsyncClient, version: str) -> None:
    observer = await client.observe(version, sender="weeks", span=timedelta(days=7))
    first = await add(observer, PANEL[:30].sample(frac=1, random_state=3))  # 1970-01-01 was a Thursday, as 2024-01-04.
    assert [(one.window.first, one.window.last) for one in first.reports if one.window] == [
        ("2024-01-01", "2024-01-03"),
        ("2024-01-04", "2024-01-10"),
    ]
    late = await add(observer, pd.concat([PANEL[18:20], PANEL[30:34]]))
    assert (late.late_rows, late.reports) == (2, ())
    [third] = (await add(observer, PANEL[40:42])).reports
    assert (third.rows, third.late_rows) == (14, 2)


async def test_pair_that_repeats_is_refused_in_a_batch_and_left_out_of_a_window(
    client: AsyncClient, version: str
) -> None:
    observer = await client.observe(version, sender="twice", rows=8)
    with pytest.raises(errors.InvalidField, match="'date' and 'symbol' have 2024-01-01 and 'A' in rows 0 and 2"):
        await add(observer, pd.concat([PANEL[:2], PANEL[:1]]))
    await add(observer, PANEL[:4])
    [report] = (await add(observer, PANEL[2:6])).reports
    assert (report.rows, report.window and report.window.times) == (6, 3)
    assert "2 rows repeat the time and group of another row, and were left out" in report.caveats


async def test_times_that_cannot_close_a_window_are_refused(client: AsyncClient, version: str) -> None:
    await client.set_reference(version, PANEL[["ret", "volume"]], name="untimed")
    spans = await client.observe(version, sender="spans", reference="untimed", span=timedelta(days=1))
    with pytest.raises(errors.InvalidField, match=r"header.span: is given, but rows have integers as times"):
        await add(spans, PANEL[["ret", "volume"]], time=np.arange(120))
    rows = await client.observe(version, sender="rows", reference="untimed", rows=100)
    await add(rows, PANEL[["ret", "volume"]][:50], time=np.arange(50))
    with pytest.raises(errors.InvalidField, match="time: is of another kind than in the rows before"):
        await add(rows, PANEL[["ret", "volume"]], time=pd.date_range("2024-01-01", periods=120))
    [report] = (await add(rows, PANEL[["ret", "volume"]][:50])).reports
    assert (report.rows, report.window) == (100, None)  # A batch without times leaves the order of arrival.
