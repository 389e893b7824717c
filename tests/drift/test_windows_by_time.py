"""Windows of a duration close when their time is over, also when no more rows come: once, whichever server does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelward import Client, PromotionPolicy, VersionRef
from modelward.errors import GatesFailed
from modelward_server.drift.windows import Observer, ObserverState
from modelward_server.settings import Settings
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Starts servers, and waits for the end of windows.

RANDOM = np.random.default_rng(21)
TRAINING = {"ret": RANDOM.normal(size=500), "volume": RANDOM.normal(size=500)}
SPAN = timedelta(seconds=1)
NEVER = 1e6


def crisis(rows: int = 100) -> dict[str, Any]:
    return {"ret": RANDOM.normal(4.0, 3.0, size=rows), "volume": RANDOM.normal(size=rows)}


@contextmanager
def serving(folder: Path, url: str = "", seconds: float = 0.2) -> Iterator[Client]:
    """Serve with so many seconds between two looks at what is due."""
    server = RunningServer(Settings(port=0, data_dir=folder, database_url=url, schedule_seconds=seconds))
    with Client(server.target) as client:
        yield client
    server.stop()


def registered(client: Client, folder: Path) -> str:
    (folder / "model.bin").write_bytes(b"weights")
    return str(client.register("spx", folder / "model.bin", reference=TRAINING))


@pytest.mark.parametrize("database", DATABASES)
def test_last_window_is_compared_once_by_two_servers(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = new_database(request.getfixturevalue("postgres")) if database == "postgresql" else ""
    with serving(tmp_path, url) as client, serving(tmp_path, url):
        version = registered(client, tmp_path)
        observers = [client.observe(version, sender=f"engine-{number}", span=SPAN) for number in range(4)]
        for observer in observers:
            assert not observer.add(crisis()).reports
        eventually(lambda: len(list(client.list_drift_reports("spx"))) == 4)
        later = observers[0].add(crisis(), seen_at=datetime.now(UTC))  # Into a new window.
        assert (later.acknowledged, later.reports) == (2, ())
        eventually(lambda: len(list(client.list_drift_reports("spx"))) == 5)
        kept = list(client.list_drift_reports("spx"))
        assert sorted(report.label[:8] for report in kept) == ["engine-0", *(f"engine-{n}" for n in range(4))]
        assert {(report.rows, report.created_by) for report in kept} == {(100, "modelward")}
        assert client.verify_audit_log().intact


def test_last_window_alarms_after_a_restart_and_its_late_rows_are_counted(tmp_path: Path) -> None:
    now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
    times = now - np.arange(100) * np.timedelta64(1, "ms")
    with serving(tmp_path, seconds=NEVER) as client:
        version = registered(client, tmp_path)
        client.observe(version, sender="engine", span=SPAN, alarm_after=1, alarm_of=1).add(crisis(), time=times)
        assert not list(client.list_drift_reports("spx"))
    with serving(tmp_path) as client:
        eventually(lambda: sum(report.rows for report in client.list_drift_reports("spx")) == 100)
        [newest, *_] = client.list_drift_reports("spx")
        assert newest.window is not None
        late = client.observe(version, sender="engine", span=SPAN).add(crisis(), time=times - np.timedelta64(1, "us"))
        assert (late.acknowledged, late.late_rows, late.reports) == (2, 100, ())
        client.set_promotion_policy(PromotionPolicy("spx", forbid_drift_alarm=True))
        client.promote(version, to="staging")
        with pytest.raises(GatesFailed, match="drift alarm"):
            client.promote(version, to="production", reason="it passed its tests")


START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def test_window_waits_as_long_as_it_lasts_after_its_last_row_and_a_grace() -> None:
    observer = Observer(VersionRef("spx", 1), "default", "engine", 0, DAY, 1, 1)
    state = ObserverState(0, 0, 100, START, b"")
    close, now = START + timedelta(hours=21), START + timedelta(days=400)
    assert state.closes_at(observer, close, close) == START + DAY + timedelta(hours=1)
    assert state.closes_at(observer, close, now) == now + timedelta(hours=3) + timedelta(hours=1)
    assert state.closes_at(observer, START + 2 * DAY, now) == now + timedelta(hours=1)
    by_rows = Observer(VersionRef("spx", 1), "default", "engine", 500, timedelta(0), 1, 1)
    assert state.closes_at(by_rows, close, close) is None
    state.close_open(observer)
    assert (state.window, state.window_opened) == (1, START + DAY)
    assert state.closes_at(observer, close, close) is None  # It has no rows.
