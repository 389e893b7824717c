"""Firings become jobs and history once, however many servers look: on a ledger with the time as a parameter."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelward.errors import ConcurrentChange, NotDue
from modelward.inventory import Inventory
from modelward.lifecycle import ModelFormat, Stage, VersionRef
from modelward.retraining import AtSession, Cron, DueModel, Every, Job, JobState, OnPerformance, Trigger
from modelward.schedules import CatchUp, FiringOutcome, FiringRecord, Overlap, SchedulePolicy
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.models import create_model
from modelward_server.lifecycle.promotion import transition
from modelward_server.lifecycle.versions import NewVersion, log_metrics, register
from modelward_server.retraining import jobs, schedules
from modelward_server.retraining.firings import list_firings
from modelward_server.retraining.job_dispatch import lease_job
from modelward_server.retraining.job_queries import JobQuery
from modelward_server.retraining.job_states import LeaseClaim
from modelward_server.retraining.schedule_inputs import due_model
from modelward_server.retraining.scheduler import Scheduler
from modelward_server.storage import audit
from modelward_server.storage.documents import TRIGGER
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.retraining_tables import FiringRow, ScheduleRow
from tests.support.postgres import DATABASES, new_database
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
FIRED, JOINED, QUEUED, SKIPPED = FiringOutcome
NOON = Cron("0 12 * * *")


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()


def add_version(session: Session, folder: Path, actor: ActorContext) -> None:
    """Register version 1 of the model and put it into production."""
    register(session, NewVersion("spx", (), ModelFormat.OTHER, "", "", {}, {}, {}), actor)
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        transition(session, VersionRef("spx", 1), stage, "", "", actor)


class Clock:
    """Says the time that it is told."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


class World:
    """A model `spx` with schedules on a ledger, and a server that looks when it is told to."""

    def __init__(self, ledger: Ledger, *triggers: Trigger, policy: SchedulePolicy = SchedulePolicy()) -> None:  # noqa: B008
        self.ledger, self.clock = ledger, Clock()
        self.ticker = Scheduler(ledger, 1.0, lambda: None, self.clock)
        with ledger.writing() as session:
            create_model(session, "spx", "", {}, Inventory(), self.ada)
            schedules.create_schedule(session, "spx", "daily", "", triggers, self.ada, policy)

    @property
    def ada(self) -> ActorContext:
        return ActorContext("ada", self.clock.now)

    def tick(self, now: datetime) -> int:
        self.clock.now = now
        return self.ticker.tick()

    def do(self, act: Callable[[Session], object]) -> None:
        with self.ledger.writing() as session:
            act(session)

    def end_job(self) -> None:
        with self.ledger.writing() as session:
            job = lease_job(session, JobQuery("spx"), "worker", HOUR, self.ada)
            jobs.fail_job(session, job.job_id, LeaseClaim("worker", job.attempt), "no data", True, self.ada)

    def due(self, now: datetime) -> DueModel | None:
        with self.ledger.reading() as session:
            return due_model(session, "spx", now)

    def history(self) -> list[FiringRecord]:
        """Return what became of the firings, the oldest decision first."""
        with self.ledger.reading() as session:
            return list(reversed(list_firings(session, "spx", "", 1000, "").items))

    def jobs(self) -> list[Job]:
        with self.ledger.reading() as session:
            return list(jobs.list_jobs(session, "spx", [], 1000, "", self.clock.now).items)


def test_a_look_makes_the_job_with_its_reason_and_a_second_one_makes_nothing(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    assert [world.tick(T0 + hour * HOUR) for hour in (11, 12, 12, 13)] == [0, 1, 0, 0]
    [job], [firing] = world.jobs(), world.history()
    assert (job.state, job.created_by, len(job.reasons)) == (JobState.PENDING, "modelward", 1)
    assert (firing.outcome, firing.job_id, firing.fired_at) == (FIRED, job.job_id, T0 + 12 * HOUR)
    assert firing.summary == job.reasons[0].summary
    assert job.reasons[0].rule == "At 12:00 every day, UTC"


def test_it_does_not_matter_for_who_is_due_whether_a_server_looked(ledger: Ledger) -> None:
    world = World(ledger, NOON, Every(2 * DAY))
    for hour in range(12, 96, 12):
        now = T0 + hour * HOUR
        before = world.due(now)
        world.tick(now)
        after = world.due(now)
        assert before is not None
        assert after is not None
        assert (before.reasons, before.due_since, before.summary) == (after.reasons, after.due_since, after.summary)
        assert after.job_id


@pytest.mark.system
@pytest.mark.weekly
def test_half_a_year_of_new_york_sessions_makes_a_job_each_and_history_has_every_one(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    first = 182 if FULL else 274  # July or October.
    world.clock.now = T0 + first * DAY
    change = (["triggers"], "", [AtSession("XNYS", after_close=30 * MINUTE)], "")
    world.do(lambda session: schedules.update_schedule(session, "daily", *change, world.ada))
    for day in range(first, 366):
        world.tick(T0 + day * DAY + 22 * HOUR)
        if world.due(world.clock.now):
            world.end_job()
    made, history = world.jobs(), world.history()
    assert len(made) == (22 + 22 + 20 if FULL else 0) + 23 + 20 + 21  # Until December.
    assert [firing.job_id for firing in history] == [job.job_id for job in reversed(made)]
    assert {firing.outcome for firing in history} == {FIRED}
    early = {f"{one.fired_at.astimezone(ZoneInfo('America/New_York')):%m-%d %H:%M}" for one in history}
    assert {one for one in early if one.endswith("13:30")} == {"11-29 13:30", "12-24 13:30"} | (
        {"07-03 13:30"} if FULL else set()
    )
    with ledger.reading() as session:
        assert audit.verify(session).intact


@pytest.mark.parametrize("catch_up", CatchUp)
def test_downtime_is_in_the_history_firing_by_firing(ledger: Ledger, catch_up: CatchUp) -> None:
    world = World(ledger, NOON, policy=SchedulePolicy(catch_up=catch_up))
    world.tick(T0 + 5 * DAY)
    made_good = {
        CatchUp.SKIP: [SKIPPED] * 5,
        CatchUp.ONCE: [FIRED] + [SKIPPED] * 4,
        CatchUp.ALL: [FIRED] + [JOINED] * 4,
    }[catch_up]
    history = world.history()
    assert [one.outcome for one in history] == made_good
    assert [one.fired_at for one in history] == [T0 + day * DAY + 12 * HOUR for day in range(5)]
    assert all(("skipped: missed" in one.summary) == (one.outcome is SKIPPED) for one in history)
    reasons = sum(len(job.reasons) for job in world.jobs())
    assert reasons == sum(one is not SKIPPED for one in made_good)


def test_what_waits_for_a_job_makes_one_job_when_it_has_ended(ledger: Ledger) -> None:
    world = World(ledger, NOON, policy=SchedulePolicy(overlap=Overlap.QUEUE))
    for day in range(3):
        world.tick(T0 + day * DAY + 12 * HOUR)
    assert [one.outcome for one in world.history()] == [FIRED, QUEUED, QUEUED]
    world.clock.now += HOUR
    world.end_job()
    world.tick(world.clock.now + MINUTE)
    first, second, third = world.history()
    assert [second.outcome, third.outcome] == [FIRED, JOINED]
    assert second.job_id == third.job_id != first.job_id
    assert len(world.jobs()[0].reasons) == 2


def test_a_deleted_schedule_leaves_its_history_and_what_waited_is_skipped(ledger: Ledger) -> None:
    world = World(ledger, NOON, policy=SchedulePolicy(overlap=Overlap.QUEUE))
    for day in range(2):
        world.tick(T0 + day * DAY + 12 * HOUR)
    world.do(lambda session: schedules.delete_schedule(session, "daily", "", world.ada))
    fired, waited = world.history()
    assert (fired.outcome, waited.outcome) == (FIRED, SKIPPED)
    assert waited.summary.endswith("skipped: the schedule was deleted")


def test_a_changed_trigger_counts_from_the_change(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    world.clock.now = T0 + 11 * HOUR
    change = (["triggers"], "", [Cron("0 10 * * *")], "")
    world.do(lambda session: schedules.update_schedule(session, "daily", *change, world.ada))
    world.tick(T0 + 13 * HOUR)
    assert world.history() == []
    world.tick(T0 + 34 * HOUR)
    assert [one.fired_at for one in world.history()] == [T0 + 34 * HOUR]


def test_a_pause_is_made_good_as_the_policy_says(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    world.do(lambda session: schedules.pause_schedule(session, "daily", "year end", "", world.ada))
    world.tick(T0 + 3 * DAY)
    assert world.history() == []
    world.do(lambda session: schedules.resume_schedule(session, "daily", "", world.ada))
    world.tick(T0 + 3 * DAY)
    assert [one.outcome for one in world.history()] == [FIRED, SKIPPED, SKIPPED]


def test_a_calendar_that_has_ended_is_told_once_and_stops_nothing_else(ledger: Ledger) -> None:
    world = World(ledger, AtSession("XNYS", after_close=timedelta(0)))
    far = datetime(2100, 1, 1, tzinfo=UTC)
    world.do(lambda session: create_model(session, "ndx", "", {}, Inventory(), world.ada))
    world.do(lambda session: schedules.create_schedule(session, "ndx", "other", "", [Every(DAY)], world.ada))
    with ledger.writing() as session:
        schedules.update_schedule(
            session,
            "daily",
            ["triggers"],
            "",
            [AtSession("XNYS", after_open=MINUTE)],
            "",
            ActorContext("ada", far - DAY),
        )
        due = {one.model: one for one in jobs.list_due(session, "", 0, "", far).items}
        assert due["spx"].reasons == ()
        assert "XNYS has sessions from" in due["spx"].problems[0].summary
        assert "XNYS has sessions from" in due["spx"].summary
        assert due["ndx"].reasons
        assert lease_job(session, JobQuery(), "worker", HOUR, ActorContext("ada", far)).model == "ndx"
        with pytest.raises(NotDue, match="XNYS has sessions from"):
            lease_job(session, JobQuery("spx"), "worker", HOUR, ActorContext("ada", far))
    world.tick(far)
    world.tick(far + DAY)
    [told] = world.history()
    assert told.outcome is SKIPPED
    assert "XNYS has sessions from" in told.summary


def test_a_calendar_that_this_server_does_not_know_is_a_problem_and_no_crash(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    unknown = TRIGGER.dump_all(
        [AtSession("XMARS", after_close=HOUR), NOON]
    )  # As a server with a newer package keeps it.
    world.do(lambda session: session.execute(update(ScheduleRow).values(triggers=unknown)))
    world.tick(T0 + 12 * HOUR)
    told, fired = sorted(world.history(), key=lambda one: one.trigger)
    assert "this server does not know the calendar XMARS" in told.summary
    assert (fired.trigger, fired.outcome) == (1, FIRED)


def test_a_server_that_looks_often_decides_at_its_first_look_behind_the_time(ledger: Ledger) -> None:
    world = World(ledger, NOON, policy=SchedulePolicy(jitter=2 * MINUTE))
    for seconds in range(0, 300, 7):
        world.tick(T0 + 12 * HOUR - 2 * MINUTE + timedelta(seconds=seconds))
    [firing] = world.history()
    assert timedelta(0) <= firing.decided_at - firing.fired_at < timedelta(seconds=7)


def test_drift_and_decline_without_a_record_are_seen_within_a_minute(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger, OnPerformance("accuracy", below=0.5))
    world.do(lambda session: add_version(session, tmp_path, world.ada))
    world.tick(T0)
    world.do(lambda session: log_metrics(session, VersionRef("spx", 1), {"accuracy": 0.4}, T0 + MINUTE, world.ada))
    for seconds in range(0, 120, 5):
        world.tick(T0 + MINUTE + timedelta(seconds=seconds))
    [firing] = world.history()
    assert firing.fired_at == T0 + MINUTE
    assert firing.decided_at <= T0 + 2 * MINUTE


def test_who_is_due_is_told_with_the_age_of_the_training_in_words(ledger: Ledger) -> None:
    world = World(ledger, Every(DAY))
    world.tick(T0 + DAY)
    world.end_job()
    due = world.due(T0 + 2 * DAY)
    assert due is not None
    assert due.summary.endswith("last trained 1 day ago")
    assert due.newest_data_at is None


def test_the_database_itself_refuses_a_second_firing_of_one_time(ledger: Ledger) -> None:
    world = World(ledger, NOON)
    world.tick(T0 + 12 * HOUR)
    with ledger.reading() as session:
        row = session.scalars(select(FiringRow)).one()
    columns = {key: getattr(row, key) for key in row.__mapper__.columns.keys() if key != "sequence"}  # noqa: SIM118
    with pytest.raises(ConcurrentChange, match="UNIQUE"), ledger.writing() as session:
        session.add(FiringRow(**columns))


@pytest.mark.parametrize("url", DATABASES, indirect=True)
@pytest.mark.weekly("sqlite")
def test_of_four_servers_that_look_at_once_each_time_fires_once(ledger: Ledger, url: str) -> None:
    world = World(ledger, NOON, Cron("0 12 * * *", "Europe/London"), policy=SchedulePolicy(jitter=3 * MINUTE))
    others = [Ledger(url) for _ in range(4)]
    tickers = [Scheduler(one, 1.0, lambda: None, world.clock) for one in others]
    together = threading.Barrier(len(tickers))

    def look(ticker: Scheduler) -> int:
        together.wait(timeout=PATIENCE_SECONDS)
        return ticker.tick()

    with ThreadPoolExecutor(len(tickers)) as pool:
        for day in range(12):
            world.clock.now = T0 + (150 + day) * DAY + 12 * HOUR + 4 * MINUTE
            list(pool.map(look, tickers))
            world.end_job()
    for other in others:
        other.close()
    fired = Counter((one.trigger, one.fired_at) for one in world.history())
    assert set(fired.values()) == {1}
    assert len(world.jobs()) == 12
    assert all(job.state is JobState.FAILED for job in world.jobs())
    with ledger.reading() as session:
        assert audit.verify(session).intact
