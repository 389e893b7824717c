"""What jobs carry, who gets which, and what a worker that lost its lease may still do: nothing."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelward import AsyncClient, Job, JobState, RetrainingPolicy, errors
from tests.support.clients import collect
from tests.support.running_server import RunningServer

SOON = timedelta(seconds=1)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"model")
    return tmp_path / "model.bin"


async def test_a_job_carries_what_the_policy_and_the_request_say(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    policy = RetrainingPolicy(
        name, queue="gpu", labels={"region": "eu"}, parameters={"depth": "3"}, data_window=timedelta(days=30)
    )
    await client.set_retraining_policy(policy)
    job = await client.request_retraining(name, labels={"size": "big"}, parameters={"depth": "5", "trees": "9"})
    assert (job.queue, job.labels) == ("gpu", {"region": "eu", "size": "big"})
    assert job.parameters == {"depth": "5", "trees": "9"}
    assert job.data_until == job.created_at
    assert job.data_from == job.created_at - timedelta(days=30)
    begin, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    job = await client.request_retraining(name, queue="cpu", data_from=begin, data_until=end)
    assert (job.queue, job.data_from, job.data_until, len(job.reasons)) == ("cpu", begin, end, 2)
    with pytest.raises(errors.InvalidField, match="data_until: must be later"):
        await client.request_retraining(name, data_from=end, data_until=begin)


async def test_a_policy_is_replaced_by_its_etag(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    first = await client.get_retraining_policy(name)
    assert first == RetrainingPolicy(name, etag="r0")
    changed = await client.set_retraining_policy(RetrainingPolicy(name, queue="gpu", etag="r0"))
    assert (changed.queue, changed.etag) == ("gpu", "r1")
    with pytest.raises(errors.EtagMismatch):
        await client.set_retraining_policy(first)
    with pytest.raises(errors.ModelNotFound):
        await client.get_retraining_policy("nobody-made-this")


@pytest.mark.system
async def test_workers_get_jobs_of_their_queue_and_labels_only(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    asked = await client.request_retraining(name, queue=name, labels={"gpu": "yes"})
    for wanted in ({"queue": f"{name}-other"}, {"queue": name, "labels": {"gpu": "no"}}):
        with pytest.raises(errors.NotDue):
            await client.lease_job(holder="w", **wanted)
    with pytest.raises(errors.NotDue, match="in another queue or lacks a label"):
        await client.lease_job(name, holder="w", queue="other")
    leased = await client.lease_job(holder="w", queue=name, labels={"gpu": "yes"})
    assert leased.job_id == asked.job_id
    assert [job.job_id for job in await collect(client.list_jobs(queue=name))] == [asked.job_id]


@pytest.mark.system
async def test_a_worker_that_waits_gets_a_job_as_soon_as_there_is_one(server: RunningServer, name: str) -> None:
    async with AsyncClient(server.target) as client:
        await client.create_model(name)
        waiting = asyncio.create_task(client.lease_job(holder="w", queue=name, wait=timedelta(minutes=5)))
        while not waiting.done():
            await client.request_retraining(name, queue=name)  # Sooner or later the call above waits already.
            await asyncio.sleep(0.05)
        assert (await waiting).model == name


@pytest.mark.system
async def test_a_worker_waits_for_a_lease_that_runs_out(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name, queue=name)
    lost = await client.lease_job(name, holder="dies", lease=SOON)
    taken = await client.lease_job(holder="w", queue=name, wait=timedelta(seconds=30))
    assert (taken.job_id, taken.attempt) == (lost.job_id, 2)
    assert taken.fence > lost.fence


async def test_waiting_ends_when_the_time_is_up(client: AsyncClient, name: str) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.NotDue):
        await client.lease_job(holder="w", queue=name, wait=timedelta(seconds=0.3))
    assert time.monotonic() - begin >= 0.3
    with pytest.raises(errors.InvalidField, match="wait"):
        await client.lease_job(holder="w", wait=timedelta(minutes=6))


async def test_fences_rise_over_all_jobs(client: AsyncClient, name: str) -> None:
    fences = []
    for model in (f"{name}-a", f"{name}-b"):
        await client.create_model(model)
        await client.request_retraining(model)
        fences.append((await client.lease_job(model, holder="w")).fence)
    assert 0 < fences[0] < fences[1]


@pytest.mark.system
async def test_who_lost_the_lease_can_neither_register_nor_complete(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    lost = await client.lease_job(name, holder="w", lease=SOON)  # The same name for both: only the fence differs.
    taken = await client.lease_job(name, holder="w", wait=timedelta(seconds=30))
    with pytest.raises(errors.JobNotHeld):
        await client.register(name, artifact, job=lost)
    assert await collect(client.list_versions(name)) == []
    mine = await client.register(name, artifact, job=taken)
    with pytest.raises(errors.JobNotHeld):
        await client.complete_job(lost, mine)
    done = await client.complete_job(taken, mine)
    assert (done.state, done.successor) == (JobState.SUCCEEDED, 1)


@pytest.mark.system
async def test_a_job_has_one_version_whoever_goes_on_with_it(client: AsyncClient, name: str, artifact: Path) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    dies = await client.lease_job(name, holder="dies", lease=SOON)
    first = await client.register(name, artifact, job=dies)
    heir = await client.lease_job(name, holder="heir", wait=timedelta(seconds=30))
    assert heir.successor == first.version
    with pytest.raises(errors.JobHasVersion) as caught:
        await client.register(name, artifact, job=heir)
    assert caught.value.metadata == {"job_id": heir.job_id, "model": name, "version": "1"}
    assert (await client.complete_job(heir, heir.successor)).state is JobState.SUCCEEDED
    assert len(await collect(client.list_versions(name))) == 1


@pytest.mark.system
async def test_a_job_of_another_model_or_without_a_fence_registers_nothing(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="w")
    with pytest.raises(errors.InvalidField, match=f"job_id: .* is a job of {name}"):
        await client.register(f"{name}-other", artifact, job=job)
    unfenced = Job(**{**vars(job), "fence": 0})
    with pytest.raises(errors.InvalidField, match="fence: is missing"):
        await client.register(name, artifact, job=unfenced)


@pytest.mark.system
async def test_a_job_that_is_given_back_is_free_at_once_and_the_attempt_does_not_count(
    client: AsyncClient, name: str
) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    for _ in range(4):
        job = await client.lease_job(name, holder="w")
        back = await client.fail_job(job, "the machine goes down", release=True)
        assert back.state is JobState.PENDING
    assert (back.attempt, back.max_attempts) == (4, 7)


async def test_a_job_that_failed_for_good_is_tried_again_by_hand(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="w")
    with pytest.raises(errors.JobNotRetryable, match="is leased"):
        await client.retry_job(job)
    dead = await client.fail_job(job, "no data", give_up=True)
    assert dead.state is JobState.FAILED
    again = await client.retry_job(dead.job_id)
    assert (again.state, again.ended_at, again.failures) == (JobState.PENDING, None, dead.failures)
    leased = await client.lease_job(name, holder="w")
    assert (leased.job_id, leased.attempt, leased.max_attempts) == (job.job_id, 2, 4)
    await client.fail_job(leased, "no data", give_up=True)
    newer = await client.request_retraining(name)
    with pytest.raises(errors.JobNotRetryable, match=newer.job_id):
        await client.retry_job(job.job_id)


async def test_progress_is_seen_in_the_list(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="w")
    await client.heartbeat_job(job, progress=0.4, message="fold 2 of 5")
    await client.heartbeat_job(job)
    [seen] = await collect(client.list_jobs(name))
    assert (seen.progress, seen.progress_message) == (0.4, "fold 2 of 5")
    with pytest.raises(errors.InvalidField, match="progress"):
        await client.heartbeat_job(job, progress=1.5)


@pytest.mark.system
async def test_one_worker_may_take_several_jobs_at_once(client: AsyncClient, name: str, artifact: Path) -> None:
    """Models with a schedule and without one, each job once, the oldest first, with fences that rise."""
    models = [f"{name}-{number}" for number in range(5)]
    for model in models:
        await client.create_model(model)
    await client.create_schedule(models[2], drift=True)
    asked = [await client.request_retraining(model, queue=name) for model in models]
    some = await client.lease_jobs(holder="w", max_jobs=2, queue=name)
    rest = await client.lease_jobs(holder="w", max_jobs=100, queue=name)
    assert [job.job_id for job in some] == [job.job_id for job in asked[:2]]
    assert {job.job_id for job in (*some, *rest)} == {job.job_id for job in asked}
    fences = [job.fence for job in (*some, *rest)]
    assert fences == sorted(set(fences))
    with pytest.raises(errors.NotDue):
        await client.lease_jobs(holder="w", max_jobs=1, queue=name)
    version = await client.register(models[0], artifact, job=some[0])
    assert (await client.complete_job(some[0], version)).state is JobState.SUCCEEDED
    assert (await client.verify_audit_log()).defects == ()
