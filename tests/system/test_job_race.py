"""Two servers and several workers, of whom one after the other is killed, and a server too: every job is done, each has
one version, and who lost a lease changes nothing.
"""

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from modelward import Client, Job, JobState, errors
from tests.support.forked_server import ForkedServer
from tests.support.job_worker import work_until_killed
from tests.support.postgres import DATABASES, new_database
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.conftest import Serve

JOBS, WORKERS = (30, 12) if FULL else (8, 6)
QUEUE = "race"
choice = random.Random(3)


@pytest.fixture(params=DATABASES)
def servers(request: pytest.FixtureRequest, serve: Serve) -> list[ForkedServer]:
    """Two servers on one ledger and one folder."""
    env = {}
    if request.param == "postgresql":
        env = {"MODELWARD_DATABASE_URL": new_database(request.getfixturevalue("postgres"))}
    return [serve(env=env), serve(env=env)]


class Crew:
    """Workers; whoever is killed has a successor."""

    def __init__(self, servers: list[ForkedServer], folder: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")  # Forked before gRPC has threads.
        self._context.set_forkserver_preload(["tests.support.job_worker"])
        self._arguments = [server.target for server in servers], QUEUE, folder
        self.hired = 0
        self._workers: list[BaseProcess] = [self._hire() for _ in range(WORKERS)]

    def _hire(self) -> BaseProcess:
        self.hired += 1
        worker = self._context.Process(target=work_until_killed, args=(*self._arguments, self.hired), daemon=True)
        worker.start()
        return worker

    def kill_one(self) -> None:
        place = choice.randrange(WORKERS)
        self._workers[place].kill()
        self._workers[place].join()
        self._workers[place] = self._hire()

    def dismiss(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.join()


@pytest.fixture
def crew(servers: list[ForkedServer], tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(servers, tmp_path)
    yield crew
    crew.dismiss()


@pytest.mark.weekly("sqlite")
def test_every_job_is_done_once_whoever_dies(servers: list[ForkedServer], crew: Crew, tmp_path: Path) -> None:
    with Client(servers[0].target, actor="ada", timeout=PATIENCE_SECONDS) as client:
        asked = [_asked(client, f"race-{number}") for number in range(JOBS)]
        servers[1].kill()
        done = _wait_until_done(client, crew)
        crew.dismiss()
        assert {job.job_id for job in done} == {job.job_id for job in asked}
        for job in done:
            [version] = client.list_versions(job.model)
            assert (version.version, version.tags["job"]) == (job.successor, job.job_id)
            assert int(version.tags["fence"]) <= job.fence
        _check_history(client, done)
        _check_stale_fences(client, done[:5], tmp_path)
    assert crew.hired > WORKERS


def _asked(client: Client, model: str) -> Job:
    client.create_model(model)
    return client.request_retraining(model, queue=QUEUE)


def _wait_until_done(client: Client, crew: Crew) -> list[Job]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        jobs = list(client.list_jobs(queue=QUEUE))
        for dead in (job for job in jobs if job.state is JobState.FAILED):  # Three of its workers were killed.
            client.retry_job(dead)
        if all(job.state is JobState.SUCCEEDED for job in jobs):
            return jobs
        assert time.monotonic() < deadline, jobs
        crew.kill_one()
        time.sleep(0.2)


def _check_history(client: Client, done: list[Job]) -> None:
    """Every version was registered once, every job ended once, and every lease had a greater fence than the last."""
    records = list(client.export_audit_log())
    assert client.verify_audit_log().intact
    registered = Counter(record.model for record in records if record.kind == "registered")
    assert registered == Counter(job.model for job in done)
    ended = Counter(record.model for record in records if record.kind == "job" and '"succeeded"' in record.payload)
    assert ended == Counter(job.model for job in done)


def _check_stale_fences(client: Client, done: list[Job], folder: Path) -> None:
    (folder / "late.bin").write_text("trained by a worker that came back")
    for job in done:
        with pytest.raises(errors.JobNotHeld):
            client.complete_job(replace(job, fence=job.fence - 1), job.successor)
        with pytest.raises(errors.JobNotHeld):
            client.register(job.model, folder / "late.bin", job=job)
