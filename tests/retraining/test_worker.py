"""`modelward worker` in a process of its own: it does jobs, and whatever ends it, another can go on."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from modelward import Client, Job, JobState
from modelward_server.mlflow.client import connect
from tests.support.format_models import FRAME, MODELS
from tests.support.running_server import RunningServer
from tests.support.server_process import bare_environment
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database is enough here: a worker does not know which one the server has."""
    return ""


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="ada") as client:
        yield client


@pytest.fixture
def start(server: RunningServer, name: str, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a worker on the queue with the test's name."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*work: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "modelward", "worker", "--server", server.target, "--queue", name, *work]
        with (tmp_path / "worker.log").open("ab") as log:
            worker = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=bare_environment())
        started.append(worker)
        return worker

    yield run
    for worker in started:
        worker.kill()
        worker.wait()


def _asked(sdk: Client, name: str, **order: object) -> Job:
    sdk.create_model(name)
    return sdk.request_retraining(name, queue=name, **order)  # type: ignore[arg-type]


def _until(sdk: Client, job: Job, holds: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(seen := sdk.get_job(job.job_id)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


@pytest.mark.weekly
def test_a_function_trains_and_its_log_is_with_the_run(
    sdk: Client, name: str, start: Start, server: RunningServer, tmp_path: Path
) -> None:
    job = _asked(sdk, name, parameters={"depth": "3"})
    worker = start("tests.support.training_functions:train", "--name", "trainer-1")
    done = _until(sdk, job, lambda seen: seen.state is JobState.SUCCEEDED)
    assert (done.holder, done.successor, done.attempt, done.failures) == ("trainer-1", 1, 1, ())
    assert sdk.get_version(f"{name}/1").params == {"depth": "3"}
    assert _training_log(sdk, server, name) == f"trained {name} with {{'depth': '3'}}\n"
    worker.terminate()
    assert worker.wait(PATIENCE_SECONDS) == 0


def _training_log(sdk: Client, server: RunningServer, name: str) -> str:
    mlflow, deadline = connect(server.settings.tracking_uri), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        run_id = sdk.get_version(f"{name}/1").run_id
        if run_id and any(file.path == "training.log" for file in mlflow.list_artifacts(run_id)):
            return Path(mlflow.download_artifacts(run_id, "training.log")).read_text()
        time.sleep(0.1)
    raise AssertionError("MLflow does not show the log")


@pytest.mark.weekly
def test_a_function_trains_models_of_each_format(sdk: Client, name: str, start: Start) -> None:
    jobs: dict[str, Job] = {}
    for kind in MODELS:
        sdk.create_model(f"{name}-{kind}")
        jobs[kind] = sdk.request_retraining(f"{name}-{kind}", queue=name, parameters={"format": kind})
    start("tests.support.format_models:train")
    for kind, job in jobs.items():
        _until(sdk, job, lambda seen: seen.state is JobState.SUCCEEDED)
        version = f"{name}-{kind}/1"
        assert sdk.get_version(version).format == kind
        sdk.promote(version, to="staging")
        [gate] = sdk.promote(version, to="production", reason="it passed its tests").gates
        assert (gate.gate, gate.passed) == ("usable", True)
        if kind != "onnx":
            np.testing.assert_array_equal(sdk.load(version).predict(FRAME), MODELS[kind]().predict(FRAME))


def test_a_command_that_fails_says_why_with_the_end_of_what_it_printed(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    start("--", "sh", "-c", f"grep -o {name} | head -1; echo $MODELWARD_JOB_ID; exit 3")
    failed = _until(sdk, job, lambda seen: bool(seen.failures))
    assert failed.state is JobState.PENDING
    assert failed.failures[0].reason == f"exit code 3: {name}\n{job.job_id}"


def test_an_error_in_the_function_is_the_reason(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    start("tests.support.training_functions:break_down")
    failed = _until(sdk, job, lambda seen: bool(seen.failures))
    assert failed.failures[0].reason == "exit code 1: reading data\nthe vendor sent no data"


def test_work_that_registers_nothing_has_failed(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    start("--", "true")
    failed = _until(sdk, job, lambda seen: bool(seen.failures))
    assert "without registering a version" in failed.failures[0].reason


def test_work_that_takes_too_long_is_ended(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    start("--time-limit", "1s", "--", "sleep", "600")
    failed = _until(sdk, job, lambda seen: bool(seen.failures))
    assert failed.failures[0].reason == "it took longer than 0:00:01"


def test_work_that_does_not_read_a_large_job_is_ended_too(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name, parameters={f"p{number}": "x" * 5000 for number in range(100)})
    start("--time-limit", "1s", "--", "sleep", "600")
    failed = _until(sdk, job, lambda seen: bool(seen.failures))
    assert failed.failures[0].reason == "it took longer than 0:00:01"


def test_a_worker_that_is_told_to_stop_gives_its_job_back_at_once(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    worker = start("--grace", "0s", "tests.support.training_functions:train_slowly")
    begun = _until(sdk, job, lambda seen: seen.progress_message == "begun")
    assert begun.progress == 0.1
    worker.terminate()
    assert worker.wait(PATIENCE_SECONDS) == 0
    back = sdk.get_job(job.job_id)
    assert (back.state, back.failures[0].reason) == (JobState.PENDING, "the worker was stopped")
    start("tests.support.training_functions:train_slowly")
    assert _until(sdk, job, lambda seen: seen.state is JobState.SUCCEEDED).attempt == 2


@pytest.mark.weekly
def test_another_worker_takes_over_from_one_that_was_killed(sdk: Client, name: str, start: Start) -> None:
    job = _asked(sdk, name)
    killed = start("--lease", "2s", "tests.support.training_functions:train_slowly")
    _until(sdk, job, lambda seen: seen.progress_message == "begun")
    killed.kill()
    start("tests.support.training_functions:train_slowly")
    done = _until(sdk, job, lambda seen: seen.state is JobState.SUCCEEDED)
    assert (done.attempt, done.failures[0].reason) == (2, "the lease ran out without a heartbeat")


def test_a_typing_error_is_found_before_any_job_fails(start: Start, tmp_path: Path) -> None:
    assert start("tests.retraining.no_such_module:train").wait(PATIENCE_SECONDS) == 1
    assert "there is no Python module tests.retraining.no_such_module" in (tmp_path / "worker.log").read_text()


def _cluster() -> Any:
    start: Any = LocalCluster
    place = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    return start(n_workers=1, threads_per_worker=1, processes=False, **place)


def test_a_dask_cluster_does_the_work(sdk: Client, name: str, start: Start) -> None:
    cluster: Any = LocalCluster
    with cluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
        host="127.0.0.1",
    ) as running:
        job = _asked(sdk, name)
        start("--dask", running.scheduler_address, "tests.support.training_functions:train")
        assert _until(sdk, job, lambda seen: seen.state is JobState.SUCCEEDED).successor == 1


@pytest.mark.weekly
def test_an_error_on_a_dask_cluster_is_the_reason(sdk: Client, name: str, start: Start) -> None:
    cluster: Any = LocalCluster
    with cluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
        host="127.0.0.1",
    ) as running:
        job = _asked(sdk, name)
        start("--dask", running.scheduler_address, "tests.support.training_functions:miss")
        failed = _until(sdk, job, lambda seen: bool(seen.failures))
        assert failed.failures[0].reason == "ValueError: the vendor sent no data"
