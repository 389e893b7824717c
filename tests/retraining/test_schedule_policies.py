"""Schedules by exchange sessions, their policies, previews and histories, through both clients and real servers."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from modelward import (
    AsyncClient,
    AtSession,
    CatchUp,
    FiringOutcome,
    FreezeWindow,
    OnPerformance,
    Overlap,
    SchedulePolicy,
    SessionChoice,
    errors,
)
from modelward_server.settings import Settings
from modelward_server.storage.retraining_tables import FiringRow, JobRow, ScheduleRow
from tests.support.clients import collect
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.values import present
from tests.support.waiting import PATIENCE_SECONDS

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
CLOSE = AtSession("XNYS", after_close=timedelta(minutes=30))
POLICY = SchedulePolicy(
    starts_at=datetime(2024, 1, 1, tzinfo=UTC),
    ends_at=datetime(2030, 1, 1, tzinfo=UTC),
    freezes=(FreezeWindow(datetime(2025, 12, 20, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=UTC), "year end"),),
    jitter=timedelta(minutes=5),
    catch_up=CatchUp.ALL,
    overlap=Overlap.QUEUE,
    cool_down=HOUR,
    jobs_per_day=3,
    time_zone="America/New_York",
)


@pytest.mark.system
async def test_a_policy_and_a_session_come_back_as_they_went(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    first = AtSession("XLON", SessionChoice.FIRST_OF_MONTH, after_open=timedelta(0))
    created = await client.create_schedule(name, session=first, policy=POLICY)
    assert (created.triggers, created.policy) == ((first,), POLICY)
    assert await client.get_schedule(created.schedule_id) == created
    changed = await client.update_schedule(created.schedule_id, policy=SchedulePolicy())
    assert (changed.triggers, changed.policy) == ((first,), SchedulePolicy())
    third = AtSession("XSHG", after_close=30 * timedelta(minutes=1), closure_days=5, closure_session=3)
    created = await client.create_schedule(name, session=third)
    assert created.triggers == (third,)
    preview = await client.preview_triggers(session=third, after=datetime(2024, 1, 1, tzinfo=UTC), count=2)
    assert [firing.summary for firing in preview.firings] == [
        "2024-02-21 15:30 Asia/Shanghai",
        "2024-05-08 15:30 Asia/Shanghai",
    ]
    assert preview.conditions == (
        "0:30:00 after the close of the third session after a closure of 5 days or more, XSHG",
    )


@pytest.mark.system
async def test_a_preview_honours_half_days_and_says_what_it_would_skip(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    freeze = FreezeWindow(datetime(2024, 7, 4, tzinfo=UTC), datetime(2024, 7, 6, tzinfo=UTC), "long weekend")
    policy = SchedulePolicy(freezes=(freeze,), ends_at=datetime(2024, 7, 9, tzinfo=UTC))
    preview = await client.preview_triggers(
        session=CLOSE, policy=policy, after=datetime(2024, 7, 2, 12, tzinfo=UTC), count=5
    )
    assert [firing.summary for firing in preview.firings] == [
        "2024-07-02 16:30 America/New_York",
        "2024-07-03 13:30 America/New_York",
        "2024-07-05 16:30 America/New_York",
        "2024-07-08 16:30 America/New_York",
        "2024-07-09 16:30 America/New_York",
    ]
    assert [firing.skipped for firing in preview.firings] == [
        "",
        "",
        "frozen from 2024-07-04 00:00 UTC until 2024-07-06 00:00 UTC: long weekend",
        "",
        "the schedule ended 2024-07-09 00:00 UTC",
    ]
    assert preview.conditions == ("0:30:00 after the close of each session, XNYS",)


async def test_a_preview_shows_the_time_with_its_jitter_and_without(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    policy = SchedulePolicy(jitter=HOUR)
    created = await client.create_schedule(name, cron="0 12 * * *", policy=policy)
    after = datetime(2040, 1, 1, tzinfo=UTC)
    firings = (await client.preview_schedule(created.schedule_id, after=after, count=20)).firings
    assert [firing.nominal_at for firing in firings] == [after + day * DAY + 12 * HOUR for day in range(20)]
    late = [firing.at - present(firing.nominal_at) for firing in firings]
    assert all(timedelta(0) <= one < HOUR for one in late)
    assert len(set(late)) > 10
    again = (await client.preview_schedule(created.schedule_id, after=after, count=20)).firings
    assert again == firings


async def test_a_paused_schedule_is_previewed_as_one(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, cron="0 12 * * *")
    await client.pause_schedule(created.schedule_id, reason="holidays")
    [firing] = (await client.preview_schedule(created.schedule_id, count=1)).firings
    assert firing.skipped == "the schedule is paused: holidays"


async def test_a_preview_past_the_horizon_fails_with_a_reason_of_its_own(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, session=CLOSE)
    far = datetime(2100, 1, 1, tzinfo=UTC)
    for call in (
        client.preview_schedule(created.schedule_id, after=far),
        client.preview_schedule(created.schedule_id, count=1000),
        client.preview_triggers(session=CLOSE, after=far),
    ):
        with pytest.raises(errors.CalendarEnds, match="XNYS has sessions from") as caught:
            await call
        assert caught.value.metadata["calendar"] == "XNYS"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"session": AtSession("NYSE", after_close=HOUR)}, "triggers[0].periodic.session.calendar"),
        ({"session": AtSession("", after_close=HOUR)}, "triggers[0].periodic.session.calendar"),
        ({"session": AtSession("XNYS", after_close=2 * DAY)}, "triggers[0].periodic.session.after_close"),
        ({"session": AtSession("XNYS", after_open=-HOUR)}, "triggers[0].periodic.session.after_open"),
        (
            {"session": AtSession("XSHG", SessionChoice.FIRST_OF_WEEK, after_open=HOUR, closure_days=5)},
            "triggers[0].periodic.session",
        ),
        ({"policy": SchedulePolicy(time_zone="Mars/Olympus")}, "policy.time_zone"),
        ({"policy": SchedulePolicy(jitter=2 * DAY)}, "policy.jitter"),
        ({"policy": SchedulePolicy(cool_down=-HOUR)}, "policy.cool_down"),
        ({"policy": SchedulePolicy(jobs_per_day=-1)}, "policy.jobs_per_day"),
        ({"policy": SchedulePolicy(starts_at=POLICY.ends_at, ends_at=POLICY.starts_at)}, "policy.ends_at"),
        (
            {
                "policy": SchedulePolicy(
                    freezes=(FreezeWindow(datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),)
                )
            },
            "policy.freezes[0].until",
        ),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_by_its_field(
    client: AsyncClient, name: str, given: dict[str, Any], field: str
) -> None:
    await client.create_model(name)
    with pytest.raises(errors.InvalidField) as caught:
        await client.create_schedule(name, **({"every": WEEK} | given if "policy" in given else given))
    assert [violation.field for violation in caught.value.violations] == [field]
    assert await collect(client.list_schedules(name)) == []


@pytest.mark.system
async def test_a_lease_decides_the_firing_and_history_has_it(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    version = await client.register(name, tmp_path / "model.bin", metrics={"accuracy": 0.6})
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")
    created = await client.create_schedule(name, performance=OnPerformance("accuracy", below=0.5))
    await client.log_metrics(version, {"accuracy": 0.4})
    [due] = await collect(client.list_due(name))
    assert due.newest_data_at == (await client.get_version(version)).created_at
    assert timedelta(0) <= present(due.data_age) < HOUR
    assert due.summary.startswith("accuracy is 0.4: below 0.5")
    assert (due.reasons[0].rule, due.reasons[0].trigger, due.problems) == ("accuracy below 0.5", 0, ())
    job = await client.lease_job(name, holder="trainer-1")
    [firing] = await collect(client.list_firings(name))
    assert firing == (await collect(client.list_firings(schedule_id=created.schedule_id)))[0]
    assert (firing.outcome, firing.job_id, firing.summary) == (FiringOutcome.FIRED, job.job_id, due.reasons[0].summary)
    with pytest.raises(errors.ModelNotFound):
        await collect(client.list_firings("nobody-made-this"))


@pytest.fixture(params=DATABASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[RunningServer]]:
    """Two servers on one database that look at the schedules all the time."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres"))
    folders = [tmp_path / "one", tmp_path / "two"]
    running = [
        RunningServer(Settings(port=0, data_dir=folder, database_url=url, schedule_seconds=0.02)) for folder in folders
    ]
    yield running
    for one in running:
        one.stop()


@pytest.mark.system  # Takes seconds.
@pytest.mark.weekly("sqlite")
async def test_two_servers_on_one_database_fire_each_schedule_once(pair: list[RunningServer]) -> None:
    models = [f"spx-{number}" for number in range(15)]
    async with AsyncClient(pair[0].target, actor="tester") as client:
        for model in models:
            await client.create_model(model)
            await client.create_schedule(model, every=WEEK, schedule_id=model)
        with pair[0].app.ledger.writing() as session:
            session.execute(update(ScheduleRow).values(created_at=datetime.now(UTC) - WEEK))
        for model in models:  # The servers look at once at what is on record anew.
            await client.update_schedule(model, description="weekly")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len([one async for one in client.list_firings()]) < len(models):  # noqa: ASYNC110 - servers do it
                await asyncio.sleep(0.05)
        assert {job.model async for job in client.list_jobs()} == set(models)
        assert (await client.verify_audit_log()).intact
    with pair[1].app.ledger.reading() as session:
        assert session.scalar(select(func.count()).select_from(FiringRow)) == len(models)
        assert session.scalar(select(func.count()).select_from(JobRow)) == len(models)
