"""What a schedule would have retrained in the past, from the reports and metrics on record."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import InstrumentedAttribute

from modelward import AsyncClient, Firing, FreezeWindow, OnPerformance, SchedulePolicy, Stage, VersionRef
from modelward_server.settings import Settings
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.tables import MetricRow, TransitionRow, VersionRow
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer

pytestmark = [pytest.mark.system, pytest.mark.weekly("postgresql")]  # Takes seconds.

DAY = timedelta(days=1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DRIFTED = (5, 7, 12, 20, 26, 40)
"""The days after the beginning on which a report found drift; one without drift is half a day later."""
FREEZE = FreezeWindow(BEGIN + 25 * DAY, BEGIN + 30 * DAY, "quarter end")


def days(firings: Sequence[Firing]) -> list[tuple[float, int]]:
    """Return the days on which something fired, until the end of 2024, and which trigger it was."""
    fired = [one for one in firings if not one.skipped and one.at.year == 2024]
    return [((one.at - BEGIN) / DAY, one.trigger) for one in fired]


@pytest.fixture(scope="module", params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of these tests alone: its rows no longer agree with its audit log."""
    return new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[RunningServer]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), database_url=database_url))
    yield running
    running.stop()


@pytest.fixture
async def model(client: AsyncClient, server: RunningServer, name: str, tmp_path: Path) -> str:
    """A model in production since the end of 2023, with the drift reports and an accuracy of the days that followed."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    version = await client.register(name, tmp_path / "model.bin", metrics={"accuracy": 0.7})
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        await client.promote(version, to=stage, reason="first")
    rng = np.random.default_rng(7)
    await client.set_reference(version, {"x": rng.normal(size=200)})
    dated: list[tuple[InstrumentedAttribute[datetime], float, ColumnElement[bool]]] = [
        (VersionRow.created_at, -1, VersionRow.model == name),
        (TransitionRow.moved_at, -1, TransitionRow.model == name),
        (MetricRow.measured_at, -1, MetricRow.model == name),
    ]
    for day in DRIFTED:
        for level, at in ((5.0, day), (0.0, day + 0.5)):
            report = await client.detect_drift(version, {"x": rng.normal(level, size=100)})
            assert report.drift_detected is (level > 0)
            dated.append((DriftReportRow.created_at, at, DriftReportRow.report_id == report.report_id))
    _date(server, dated)
    await client.log_metrics(version, {"accuracy": 0.6}, measured_at=BEGIN + 33 * DAY)
    return name


def _date(
    server: RunningServer, dated: Sequence[tuple[InstrumentedAttribute[datetime], float, ColumnElement[bool]]]
) -> None:
    """Write what happened now as if it had happened some days after the beginning."""
    with server.app.ledger.writing() as session:
        for column, day, rows in dated:
            session.execute(update(column.class_).where(rows).values({column: BEGIN + day * DAY}))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SchedulePolicy(), [(5, 0), (7, 0), (12, 0), (20, 0), (26, 0), (33, 1), (40, 0)]),
        # The report of day 7 has passed when the cool-down ends, as a report without drift came after it.
        (SchedulePolicy(cool_down=7 * DAY), [(5, 0), (12, 0), (20, 0), (33, 1), (40, 0)]),
        (SchedulePolicy(cool_down=6 * DAY + DAY / 4, freezes=(FREEZE,)), [(5, 0), (12, 0), (20, 0), (33, 1), (40, 0)]),
        (SchedulePolicy(starts_at=BEGIN + 6 * DAY, ends_at=BEGIN + 30 * DAY), [(7, 0), (12, 0), (20, 0), (26, 0)]),
    ],
)
async def test_reports_and_metrics_of_the_past_fire(
    client: AsyncClient, model: str, policy: SchedulePolicy, expected: list[tuple[float, int]]
) -> None:
    bound = OnPerformance("accuracy", fallen_by=0.05)
    schedule = await client.create_schedule(model, drift=True, performance=[bound], policy=policy)
    preview = await client.preview_schedule(schedule.schedule_id, after=BEGIN)
    assert days(preview.firings) == expected
    assert preview.firings[0].summary.startswith("drift score ")


async def test_a_condition_that_lasts_waits_for_what_prevents_it(
    client: AsyncClient, server: RunningServer, name: str, model: str
) -> None:
    report = await client.detect_drift(VersionRef(model, 1), {"x": np.full(100, 9.0) + np.arange(100)})
    _date(server, [(DriftReportRow.created_at, 50, DriftReportRow.report_id == report.report_id)])
    policy = SchedulePolicy(
        cool_down=12 * DAY, freezes=(FreezeWindow(BEGIN + 51 * DAY, BEGIN + 60 * DAY, "close"),), jobs_per_day=1
    )
    schedule = await client.create_schedule(model, drift=True, cron="0 12 * * MON", policy=policy)
    firings = (await client.preview_schedule(schedule.schedule_id, after=BEGIN + 39 * DAY, count=8)).firings
    # Day 0 is a Monday: 42 and 49 are skipped because of the training of day 40, 56 because of the freeze.
    assert [((one.at - BEGIN) / DAY, one.trigger) for one in firings[:5]] == [
        (40, 1),
        (42.5, 0),
        (49.5, 0),
        (56.5, 0),
        (60, 1),
    ]
    skipped = [one.skipped for one in firings[:5]]
    for place, word in ((1, "cool-down"), (2, "cool-down"), (3, "frozen")):
        assert word in skipped[place]
    assert skipped[0] == skipped[4] == ""


async def test_the_last_training_is_that_of_the_beginning(client: AsyncClient, model: str) -> None:
    schedule = await client.create_schedule(model, every=10 * DAY, drift=True)
    before = await client.preview_schedule(schedule.schedule_id, after=BEGIN - 100 * DAY, count=12)
    assert days(before.firings) == [(0, 0), (5, 1), (7, 1)]
    assert [one.at for one in before.firings[:9]] == [BEGIN - place * 10 * DAY for place in range(9, 0, -1)]
    since = await client.preview_schedule(schedule.schedule_id, after=BEGIN + 12 * DAY, count=3)
    # Registered a day before the beginning, so every ten days is day 19, and then the report of day 20 counts anew.
    assert days(since.firings) == [(19, 0), (20, 1), (26, 1)]
