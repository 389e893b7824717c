"""Schedules and jobs over years: the service functions on a ledger, with the time as a parameter."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from modelward.errors import ConcurrentChange, InvalidField, NotDue
from modelward.inventory import Inventory
from modelward.lifecycle import ModelFormat, Stage, VersionRef
from modelward.retraining import Cron, Every, JobState, OnPerformance, PeriodicEvidence
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.models import create_model
from modelward_server.lifecycle.promotion import transition
from modelward_server.lifecycle.versions import NewVersion, log_metrics, register
from modelward_server.retraining import jobs, schedules
from modelward_server.retraining.job_dispatch import lease_job
from modelward_server.retraining.job_queries import JobQuery
from modelward_server.retraining.job_states import LeaseClaim
from modelward_server.retraining.repository import new_job
from modelward_server.retraining.schedule_inputs import due_model
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger

pytestmark = pytest.mark.system  # Takes seconds.

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def ada(at: datetime) -> ActorContext:
    return ActorContext("ada", at)


def add_version(session: Session, blobs: BlobStore, at: datetime, *stages: Stage) -> int:
    new = NewVersion("spx", (), ModelFormat.OTHER, "", "", {}, {}, {"accuracy": 0.6})
    version = register(session, new, ada(at)).version
    for stage in stages:
        transition(session, VersionRef("spx", version), stage, "", "", ada(at))
    return version


def is_due(session: Session, at: datetime) -> bool:
    return due_model(session, "spx", at) is not None


def test_the_clock_counts_from_the_version_in_production_and_not_from_candidates(
    ledger: Ledger, blobs: BlobStore
) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0, Stage.STAGING, Stage.PRODUCTION)
        schedules.create_schedule(session, "spx", "", "", [Every(30 * DAY)], ada(T0))
        add_version(session, blobs, T0 + 20 * DAY)
        assert not is_due(session, T0 + 30 * DAY - HOUR)
        due = due_model(session, "spx", T0 + 30 * DAY)
        assert due is not None
        assert due.reasons[0].evidence == PeriodicEvidence(T0 + 30 * DAY, T0)
        assert (due.due_since, due.last_trained_at) == (T0 + 30 * DAY, T0)


def test_a_promotion_of_a_newer_version_resets_the_clock_to_its_training(ledger: Ledger, blobs: BlobStore) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0, Stage.STAGING, Stage.PRODUCTION)
        schedules.create_schedule(session, "spx", "", "", [Every(30 * DAY)], ada(T0))
        add_version(session, blobs, T0 + 20 * DAY, Stage.STAGING, Stage.PRODUCTION)
        assert not is_due(session, T0 + 40 * DAY)
        assert is_due(session, T0 + 50 * DAY)


@pytest.mark.system
@pytest.mark.weekly
def test_a_year_of_weekly_trainings_fires_once_a_week_over_both_clock_changes(ledger: Ledger, blobs: BlobStore) -> None:
    """Every day a worker asks for the job, and completes it in the hour after."""
    with ledger.writing() as session:
        add_version(session, blobs, T0, Stage.STAGING, Stage.PRODUCTION)
        rule = Cron("30 17 * * FRI", "America/New_York")
        schedules.create_schedule(session, "spx", "", "", [rule], ada(T0))
        fired = []
        for day in range(367):
            now = T0 + day * DAY
            try:
                job = lease_job(session, JobQuery("spx"), "worker", 2 * HOUR, ada(now))
            except NotDue:
                continue
            fired.append(job.reasons[0].since)
            successor = add_version(session, blobs, now, Stage.STAGING, Stage.PRODUCTION)
            jobs.complete_job(
                session,
                job.job_id,
                LeaseClaim("worker", job.attempt),
                jobs.Result(successor),
                ada(now + timedelta(minutes=30)),
            )
    assert len(fired) == 52  # The Fridays of 2024.
    gaps = [later - earlier for earlier, later in pairwise(fired)]
    assert [gap for gap in gaps if gap != 7 * DAY] == [
        7 * DAY - HOUR,  # March 10
        7 * DAY + HOUR,  # November 3
    ]


def test_a_metric_that_was_logged_late_counts_by_when_it_was_measured(ledger: Ledger, blobs: BlobStore) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0, Stage.STAGING, Stage.PRODUCTION)
        schedules.create_schedule(session, "spx", "", "", [OnPerformance("accuracy", below=0.5)], ada(T0))
        ref = VersionRef("spx", 1)
        log_metrics(session, ref, {"accuracy": 0.4}, T0 + 2 * DAY, ada(T0 + 2 * DAY))
        log_metrics(session, ref, {"accuracy": 0.7}, T0 + DAY, ada(T0 + 3 * DAY))
        assert is_due(session, T0 + 4 * DAY)
        log_metrics(session, ref, {"accuracy": 0.7}, T0 + 3 * DAY, ada(T0 + 4 * DAY))
        assert not is_due(session, T0 + 4 * DAY)


def test_what_was_seen_of_the_predecessor_does_not_make_its_successor_due(ledger: Ledger, blobs: BlobStore) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0, Stage.STAGING, Stage.PRODUCTION)
        schedules.create_schedule(session, "spx", "", "", [OnPerformance("accuracy", below=0.5)], ada(T0))
        log_metrics(session, VersionRef("spx", 1), {"accuracy": 0.4}, None, ada(T0 + DAY))
        assert is_due(session, T0 + DAY)
        add_version(session, blobs, T0 + 2 * DAY, Stage.STAGING, Stage.PRODUCTION)
        assert not is_due(session, T0 + 3 * DAY)


def test_a_paused_schedule_makes_nothing_due_and_on_resuming_what_was_missed_is_due(
    ledger: Ledger, blobs: BlobStore
) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0)
        schedule = schedules.create_schedule(session, "spx", "", "", [Every(DAY)], ada(T0))
        schedules.pause_schedule(session, schedule.schedule_id, "holidays", "", ada(T0))
        assert not is_due(session, T0 + 9 * DAY)
        assert jobs.list_due(session, "", 0, "", T0 + 9 * DAY).items == ()
        schedules.resume_schedule(session, schedule.schedule_id, "", ada(T0 + 9 * DAY))
        due = due_model(session, "spx", T0 + 9 * DAY)
        assert due is not None
        assert due.due_since == T0 + DAY


def test_a_job_whose_worker_died_three_times_has_failed_and_the_clock_starts_anew(
    ledger: Ledger, blobs: BlobStore
) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0)
        schedules.create_schedule(session, "spx", "", "", [Every(DAY)], ada(T0))
        for attempt in range(3):
            job = lease_job(session, JobQuery("spx"), "worker", HOUR, ada(T0 + DAY + attempt * HOUR))
        died = T0 + DAY + 3 * HOUR
        found = jobs.get_job(session, job.job_id, died)
        assert (found.state, found.attempt, found.ended_at) == (JobState.FAILED, 3, died)
        assert jobs.list_jobs(session, "spx", [JobState.FAILED], 0, "", died).items == (found,)
        assert not is_due(session, died + DAY - HOUR)
        again = lease_job(session, JobQuery("spx"), "worker", HOUR, ada(died + DAY))
        assert again.job_id != job.job_id


def test_a_deleted_schedule_leaves_its_open_job(ledger: Ledger, blobs: BlobStore) -> None:
    with ledger.writing() as session:
        add_version(session, blobs, T0)
        schedule = schedules.create_schedule(session, "spx", "", "", [Every(DAY)], ada(T0))
        job = lease_job(session, JobQuery("spx"), "worker", HOUR, ada(T0 + DAY))
        schedules.delete_schedule(session, schedule.schedule_id, "", ada(T0 + DAY))
        due = due_model(session, "spx", T0 + DAY)
        assert due is not None
        assert (due.job_id, due.reasons) == (job.job_id, job.reasons)


def test_the_database_itself_refuses_a_second_open_job_of_a_model(ledger: Ledger) -> None:
    with ledger.writing() as session:
        create_model(session, "spx", "", {}, Inventory(), ada(T0))
        new_job(session, "spx", 0, (), ada(T0))
    with pytest.raises(ConcurrentChange, match="UNIQUE"), ledger.writing() as session:
        new_job(session, "spx", 0, (), ada(T0))


def test_pages_of_due_models_go_on_behind_the_last_one(ledger: Ledger) -> None:
    with ledger.writing() as session:
        for number in range(5):
            create_model(session, f"spx-{number}", "", {}, Inventory(), ada(T0))
            schedules.create_schedule(session, f"spx-{number}", "", "", [Every((5 - number) * DAY)], ada(T0))
        names, token = [], ""
        for size in (2, 2, 1):
            page = jobs.list_due(session, "", 2, token, T0 + 9 * DAY)
            assert len(page.items) == size
            names += [due.model for due in page.items]
            token = page.next_page_token
        assert (names, token) == ([f"spx-{number}" for number in (4, 3, 2, 1, 0)], "")
        with pytest.raises(InvalidField, match="page_token"):
            jobs.list_due(session, "", 2, "nonsense", T0)
