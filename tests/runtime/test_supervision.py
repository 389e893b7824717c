"""Each background task of a real server: when it raises what nobody foresaw it is shown, logged and comes back."""

import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from sqlalchemy.exc import DatabaseError

from modelward.cli.commands import cli
from modelward_server.drift.window_task import WindowTask
from modelward_server.lifecycle import drill_task, engine_changes, events, trial_task
from modelward_server.lifecycle.drill_task import DrillTask
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.mlflow import mirror_task
from modelward_server.observability import health
from modelward_server.retraining.post_training_task import PostTraining
from modelward_server.retraining.scheduler import Scheduler
from modelward_server.runtime import background, event_broadcaster
from modelward_server.settings import Settings
from modelward_server.storage import replicas, retention, retention_task
from modelward_server.webhooks.webhooks import Webhooks
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Starts servers, and waits for what fails.

PLACES: dict[str, tuple[Any, str]] = {
    "feed": (events, "_events"),
    "engine-feed": (engine_changes, "select"),
    "mirror": (mirror_task.MirrorTask, "sync_pending"),
    "ticker": (Scheduler, "tick"),
    "windows": (WindowTask, "close_due"),
    "follow-ups": (PostTraining, "_work"),
    "webhook-1": (Webhooks, "_claim"),
    "webhook-2": (Webhooks, "_claim"),
    "health-database": (health, "answers"),
    "health-mlflow": (health, "is_reached"),
    "retention": (retention.Retention, "steps"),
    "replicas": (replicas.Replicas, "beat"),
    "trials": (TrialTask, "_claim"),
    "drills": (DrillTask, "_end_overdue"),
}
"""What each task calls again and again."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(background, "FIRST_PAUSE_SECONDS", 0.05)
        patched.setattr(background, "MAX_PAUSE_SECONDS", 0.2)
        patched.setattr(retention_task, "INTERVAL_SECONDS", 0.05)
        patched.setattr(health, "SECONDS", 0.05)
        patched.setattr(event_broadcaster, "IDLE_SECONDS", 0.1)
        patched.setattr(mirror_task, "POLL_SECONDS", 0.1)
        patched.setattr(trial_task, "POLL_SECONDS", 0.1)
        patched.setattr(drill_task, "POLL_SECONDS", 0.1)
        running = RunningServer(
            Settings(
                port=0,
                metrics_port=0,
                data_dir=tmp_path_factory.mktemp("data"),
                schedule_seconds=0.05,
                webhooks=("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"),
            )
        )
        yield running
        running.stop()


def state(server: RunningServer, task: str) -> str:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = HealthStub(channel)
        answer = stub.Check(HealthCheckRequest(service=f"modelward.background.{task}"), timeout=PATIENCE_SECONDS)
    return HealthCheckResponse.ServingStatus.Name(answer.status)


def scraped(server: RunningServer, metric: str, task: str) -> float:
    with urlopen(f"http://127.0.0.1:{server.app.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        found = re.search(rf'^{metric}{{task="{task}"}} (\S+)$', answer.read().decode(), re.MULTILINE)
    assert found, metric
    return float(found[1])


@pytest.mark.parametrize("task", PLACES)
def test_a_task_that_raises_is_shown_and_comes_back(
    server: RunningServer, task: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"nobody foresaw this of {task}")

    eventually(lambda: state(server, task) == "SERVING")
    failures = scraped(server, "modelward_background_task_failures_total", task)
    with monkeypatch.context() as patched:
        patched.setattr(*PLACES[task], broken)
        eventually(lambda: state(server, task) == "NOT_SERVING")
        eventually(lambda: scraped(server, "modelward_background_task_up", task) == 0)
        assert scraped(server, "modelward_background_task_failures_total", task) > failures
        told = CliRunner().invoke(cli, ["health", "--server", server.target])
        assert f"not serving: {task}" in told.stdout or f", {task}" in told.stdout
        assert told.exit_code == 1 or task != "health-database"
    eventually(lambda: state(server, task) == "SERVING")
    eventually(lambda: scraped(server, "modelward_background_task_up", task) == 1)
    [first, *_] = [one for one in caplog.records if one.levelno == logging.ERROR and task in one.getMessage()]
    assert first.exc_info
    assert isinstance(first.exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize("task", ["feed", "mirror", "ticker", "windows", "follow-ups", "webhook-1"])
def test_a_damaged_database_ends_no_task(
    server: RunningServer, task: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DatabaseError("select", {}, sqlite3.DatabaseError("database disk image is malformed"))

    with monkeypatch.context() as patched:
        patched.setattr(*PLACES[task], broken)
        eventually(lambda: state(server, task) == "NOT_SERVING")
    eventually(lambda: state(server, task) == "SERVING")
    told = [one for one in caplog.records if f"task {task} " in one.getMessage()]
    assert set(Counter(one.thread for one in told).values()) == {1}  # Other servers of this process are patched too.
    assert "database disk image is malformed" in told[0].getMessage()


def test_health_lists_every_task(server: RunningServer) -> None:
    for task in PLACES:
        eventually(lambda task=task: state(server, task) == "SERVING")  # type: ignore[misc]
    told = json.loads(CliRunner().invoke(cli, ["health", "--server", server.target, "--json"]).stdout)
    assert told["background"].keys() == {one.name for one in server.app.background.statuses}
    assert told["background"].keys() >= PLACES.keys()
    assert "background" in CliRunner().invoke(cli, ["health", "--server", server.target]).stdout
