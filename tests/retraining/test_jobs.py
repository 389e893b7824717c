"""Due models and jobs, through both clients, with a real clock."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelward import (
    AsyncClient,
    DriftEvidence,
    DueModel,
    Job,
    JobState,
    OnPerformance,
    PerformanceEvidence,
    RequestEvidence,
    errors,
)
from modelward_server.settings import Settings
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.values import present


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"model")
    return tmp_path / "model.bin"


async def _in_production(client: AsyncClient, name: str, artifact: Path, **registered: Any) -> None:
    version = await client.register(name, artifact, **registered)
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")


async def _due(client: AsyncClient, name: str) -> DueModel | None:
    found = await collect(client.list_due(name))
    return found[0] if found else None


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_a_logged_metric_below_its_bound_makes_the_model_due_with_evidence(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _in_production(client, name, artifact, metrics={"accuracy": 0.57})
    schedule = await client.create_schedule(name, performance=OnPerformance("accuracy", below=0.6))
    assert await _due(client, name) is None  # What it was registered with was accepted then.
    await client.log_metrics(f"{name}/1", {"accuracy": 0.49})
    due = await _due(client, name)
    assert due is not None
    assert (due.model, due.version, due.job_id, due.job_state) == (name, 1, "", None)
    [reason] = due.reasons
    assert reason.schedule_id == schedule.schedule_id
    assert reason.summary.startswith("accuracy is 0.49: below 0.6 (logged 20")
    assert isinstance(reason.evidence, PerformanceEvidence)
    assert (reason.evidence.version, reason.evidence.value, reason.evidence.threshold) == (1, 0.49, 0.6)
    await client.log_metrics(f"{name}/1", {"accuracy": 0.61})
    assert await _due(client, name) is None  # The latest value counts.


@pytest.mark.system
async def test_a_fall_counts_from_the_metric_at_registration(client: AsyncClient, name: str, artifact: Path) -> None:
    await _in_production(client, name, artifact, metrics={"accuracy": 0.75})
    await client.create_schedule(name, performance=OnPerformance("accuracy", fallen_by=0.125))
    await client.log_metrics(f"{name}/1", {"accuracy": 0.626})
    assert await _due(client, name) is None
    await client.log_metrics(f"{name}/1", {"accuracy": 0.625})
    due = await _due(client, name)
    assert due is not None
    assert "decreased by at least 0.125 from 0.75 at registration" in due.reasons[0].summary


async def test_what_a_candidate_measures_does_not_make_its_model_due(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _in_production(client, name, artifact)
    await client.register(name, artifact)
    await client.create_schedule(name, performance=OnPerformance("accuracy", below=0.5))
    await client.log_metrics(f"{name}/2", {"accuracy": 0.1})
    assert await _due(client, name) is None


@pytest.mark.system
async def test_drift_makes_the_model_due_and_names_the_report(client: AsyncClient, name: str, artifact: Path) -> None:
    random = np.random.default_rng(0)
    await _in_production(client, name, artifact, reference={"x": random.normal(size=500)})
    await client.create_schedule(name, drift=True)
    await client.detect_drift(f"{name}/1", {"x": random.normal(size=500)})
    assert await _due(client, name) is None
    report = await client.detect_drift(f"{name}/1", {"x": random.normal(3, 1, size=500)})
    due = await _due(client, name)
    assert due is not None
    assert due.reasons[0].evidence == DriftEvidence(report.report_id, 1, report.score, None)


@pytest.mark.system
async def test_several_reasons_make_one_job_that_carries_them_all(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _in_production(client, name, artifact)
    await client.create_schedule(
        name, performance=[OnPerformance("accuracy", below=0.5), OnPerformance("log_loss", above=1.0)]
    )
    await client.log_metrics(f"{name}/1", {"accuracy": 0.4, "log_loss": 1.5})
    expected = await client.request_retraining(name, reason="new data vendor", dry_run=True)
    assert await collect(client.list_jobs(name)) == []
    asked = await client.request_retraining(name, reason="new data vendor")
    assert (expected.state, expected.queue, len(expected.reasons)) == (asked.state, asked.queue, 1)
    job = await client.lease_job(name, holder="trainer-1")
    assert job.job_id == asked.job_id
    assert [type(reason.evidence) for reason in job.reasons].count(PerformanceEvidence) == 2
    assert RequestEvidence("tester", "new data vendor") in [reason.evidence for reason in job.reasons]
    assert job.reasons == (await client.get_job(job.job_id)).reasons


@pytest.mark.system
async def test_a_job_goes_from_lease_to_successor_and_the_model_is_no_longer_due(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _in_production(client, name, artifact, metrics={"accuracy": 0.57})
    await client.create_schedule(name, performance=OnPerformance("accuracy", below=0.5))
    await client.log_metrics(f"{name}/1", {"accuracy": 0.4})
    before = datetime.now(UTC)
    job = await client.lease_job(name, holder="trainer-1", lease=timedelta(minutes=5))
    assert (job.state, job.holder, job.attempt, job.version) == (JobState.LEASED, "trainer-1", 1, 1)
    assert present(job.lease_expires_at) - before == pytest.approx(timedelta(minutes=5), abs=timedelta(seconds=30))
    held = await _due(client, name)
    assert held is not None
    assert (held.job_id, held.job_state) == (job.job_id, JobState.LEASED)
    beat = await client.heartbeat_job(job, lease=timedelta(minutes=30))
    assert present(beat.lease_expires_at) - present(job.lease_expires_at) > timedelta(minutes=20)
    successor = await client.register(name, artifact)
    done = await client.complete_job(job, successor)
    assert (done.state, done.successor, done.lease_expires_at) == (JobState.SUCCEEDED, 2, None)
    assert done.ended_at is not None
    assert await _due(client, name) is None
    await client.log_metrics(f"{name}/1", {"accuracy": 0.41})
    assert await _due(client, name) is not None  # Still bad, and seen after the job: due again.


async def test_a_held_job_is_refused_to_others(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="trainer-1")
    with pytest.raises(errors.JobAlreadyLeased, match="trainer-1 has the job until") as caught:
        await client.lease_job(name, holder="trainer-2")
    assert caught.value.metadata == {"model": name, "job_id": job.job_id, "holder": "trainer-1"}


async def test_a_model_that_is_not_due_has_no_job(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    with pytest.raises(errors.NotDue, match="request it with request_retraining") as caught:
        await client.lease_job(name, holder="trainer-1")
    assert caught.value.metadata == {"model": name}
    assert await collect(client.list_jobs(name)) == []


@pytest.mark.system
async def test_a_lease_that_runs_out_frees_the_job_and_its_holder_has_lost_it(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    lost = await client.lease_job(name, holder="trainer-1", lease=timedelta(seconds=1))
    await asyncio.sleep(1.1)
    assert (await client.get_job(lost.job_id)).state is JobState.PENDING
    assert [job.job_id for job in await collect(client.list_jobs(name, states=["pending"]))] == [lost.job_id]
    assert await collect(client.list_jobs(name, states=["leased"])) == []
    taken = await client.lease_job(name, holder="trainer-2")
    assert (taken.job_id, taken.attempt) == (lost.job_id, 2)
    assert taken.failures[0].reason == "the lease ran out without a heartbeat"
    for call in (client.heartbeat_job(lost), client.fail_job(lost, "too late"), client.complete_job(lost, 1)):
        with pytest.raises(errors.JobNotHeld, match="held by trainer-2, not by trainer-1"):
            await call


async def test_a_failed_job_waits_and_one_that_is_given_up_frees_the_model(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    failed = await client.fail_job(await client.lease_job(name, holder="trainer-1"), "no data")
    assert (failed.state, failed.failures[0].reason) == (JobState.PENDING, "no data")
    with pytest.raises(errors.NotDue, match="waits until"):
        await client.lease_job(name, holder="trainer-1")
    other = f"{name}-2"
    await client.create_model(other)
    first = await client.request_retraining(other)
    job = await client.lease_job(other, holder="trainer-1")
    given_up = await client.fail_job(job, "no licence", give_up=True)
    assert (given_up.state, given_up.job_id) == (JobState.FAILED, first.job_id)
    assert await _due(client, other) is None
    assert (await client.request_retraining(other)).job_id != first.job_id


async def test_the_successor_must_be_a_version_that_the_job_can_have_made(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await client.register(name, artifact)
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="trainer-1")
    with pytest.raises(errors.VersionNotFound, match="its versions go up to 1"):
        await client.complete_job(job, 2)
    with pytest.raises(errors.InvalidField, match=r"successor: .*older than the job"):
        await client.complete_job(job, f"{name}/1")
    with pytest.raises(errors.InvalidField, match="successor: other/1 is not a version of"):
        await client.complete_job(job, "other/1")
    with pytest.raises(errors.InvalidField, match="successor"):
        await client.complete_job(job, 0)
    assert (await client.get_job(job.job_id)).state is JobState.LEASED


async def test_jobs_are_listed_the_newest_first_and_by_state(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    for _ in range(2):
        await client.request_retraining(name)
        await client.fail_job(await client.lease_job(name, holder="trainer-1"), "no data", give_up=True)
    last = await client.request_retraining(name)
    found = await collect(client.list_jobs(name))
    assert [job.state for job in found] == [JobState.PENDING, JobState.FAILED, JobState.FAILED]
    assert found[0] == last
    assert len(await collect(client.list_jobs(name, states=[JobState.FAILED, "succeeded"]))) == 2


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"holder": ""}, "holder"),
        ({"holder": "x" * 257}, "holder"),
        ({"holder": "x", "lease": timedelta(0)}, "lease"),
        ({"holder": "x", "lease": timedelta(days=2)}, "lease"),
        ({"holder": "x", "model": "no such name!"}, "model"),
    ],
    ids=str,
)
async def test_a_lease_asked_for_wrongly_is_refused_by_its_field(
    client: AsyncClient, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.lease_job(**arguments)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_unknown_states_and_ids_are_named(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidField, match="is not one of pending, leased, succeeded, failed"):
        await collect(client.list_jobs(states=["done"]))
    with pytest.raises(errors.JobNotFound) as caught:
        await client.get_job("job-nobody-made")
    assert caught.value.metadata == {"job_id": "job-nobody-made"}
    with pytest.raises(errors.InvalidField, match="job_id"):
        await client.get_job("")
    with pytest.raises(errors.ModelNotFound):
        await client.request_retraining("nobody-made-this")


@pytest.mark.system
async def test_of_many_workers_at_once_exactly_one_gets_the_job(server: RunningServer, name: str) -> None:
    async with AsyncClient(server.target, actor="tester") as client:
        await client.create_model(name)
        for round_ in range(5):
            await client.request_retraining(name)
            tries = [client.lease_job(name, holder=f"trainer-{number}") for number in range(8)]
            answers = await asyncio.gather(*tries, return_exceptions=True)
            won = [answer for answer in answers if isinstance(answer, Job)]
            assert len(won) == 1, round_
            assert sum(isinstance(answer, errors.JobAlreadyLeased) for answer in answers) == 7
            await client.fail_job(won[0], "next round", give_up=True)


@pytest.fixture
async def lone(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of a server that no other test uses."""
    running = await asyncio.to_thread(RunningServer, Settings(port=0, data_dir=tmp_path / "data"))
    async with AsyncClient(running.target, actor="tester") as client:
        yield client
    await asyncio.to_thread(running.stop)


@pytest.mark.system
async def test_without_a_model_each_worker_gets_the_longest_due_that_is_free(lone: AsyncClient) -> None:
    for model in ("b", "a", "c"):
        await lone.create_model(model)
        await lone.request_retraining(model)
    assert [due.model async for due in lone.list_due()] == ["b", "a", "c"]
    assert [(await lone.lease_job(holder="trainer-1")).model for _ in range(3)] == ["b", "a", "c"]
    with pytest.raises(errors.NotDue, match="no model is due whose job is free"):
        await lone.lease_job(holder="trainer-1")


@pytest.mark.system
async def test_what_is_due_follows_the_clock_without_a_change(lone: AsyncClient) -> None:
    await lone.create_model("spx")
    await lone.request_retraining("spx")
    await lone.lease_job(holder="trainer-1", lease=timedelta(seconds=3))
    states: list[JobState | None] = []
    while not states or states[-1] is JobState.LEASED:
        states += [due.job_state async for due in lone.list_due()]
    assert states[0] is JobState.LEASED
    assert states[-1] is JobState.PENDING
