"""The Prometheus endpoint of a real server: what calls count, what the ledger says, and what is said without it."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest

from modelward import Client, errors
from modelward_server.observability import metrics_endpoint
from modelward_server.observability.ledger_metrics import LedgerMetrics
from modelward_server.settings import Settings
from modelward_server.storage.ledger import Ledger
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Starts servers.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(Settings(port=0, metrics_port=0, data_dir=tmp_path / "data"))
    yield running
    running.stop()


def scraped(server: RunningServer) -> dict[str, float]:
    """Return what a scrape tells, by name and labels."""
    with urlopen(f"http://127.0.0.1:{server.app.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\n]\S*) (\S+)$", text, re.MULTILINE)}


def handled(service: str, method: str, code: str) -> str:
    labels = f'grpc_code="{code}",grpc_method="{method}",grpc_service="modelward.v1.{service}"'
    return f"grpc_server_handled_total{{{labels}}}"


def test_calls_are_counted_and_timed_by_method_and_status(server: RunningServer) -> None:
    with Client(server.target) as client:
        client.create_model("spx")
        for _ in range(3):
            client.get_model("spx")
        with pytest.raises(errors.ModelNotFound):
            client.get_model("ndx")
        watch = client.watch(["spx"])
        next(watch)
        told = scraped(server)
        watched = 'modelward_calls_open{grpc_method="WatchModels",grpc_service="modelward.v1.LifecycleService"}'
        assert told[watched] == 1
        watch.close()
    assert told[handled("LifecycleService", "GetModel", "OK")] == 3
    assert told[handled("LifecycleService", "GetModel", "NOT_FOUND")] == 1
    timed = 'grpc_server_handling_seconds_count{grpc_method="GetModel",grpc_service="modelward.v1.LifecycleService"}'
    assert told[timed] == 4


def test_a_call_that_is_cancelled_is_counted_as_such(server: RunningServer) -> None:
    with Client(server.target) as client:
        client.create_model("spx")
        watch = client.watch(["spx"])
        next(watch)
        watch.close()
        client.get_model("spx")
    name = handled("LifecycleService", "WatchModels", "CANCELLED")
    assert any(scraped(server).get(name) == 1 for _ in range(100))


def test_the_ledger_tells_versions_drift_and_jobs(server: RunningServer, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with Client(server.target) as client:
        version = client.register("spx", tmp_path / "model.bin", reference={"x": random.normal(size=500)})
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        score = client.detect_drift(version, {"x": random.normal(3, 1, size=200)}).score
        client.request_retraining("spx")
    told = scraped(server)
    assert told["modelward_database_up"] == 1
    assert told['modelward_production_version{model="spx"}'] == 1
    assert told['modelward_drift_score{model="spx"}'] == pytest.approx(score)
    assert (told['modelward_jobs_open{state="pending"}'], told['modelward_jobs_open{state="leased"}']) == (1, 0)
    assert 0 <= told["modelward_oldest_job_seconds"] < 60
    assert told["modelward_mlflow_versions_behind"] >= 0


def test_a_database_that_is_away_breaks_no_scrape(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Ledger) -> Any:
        raise errors.StoreUnavailable("the disk is gone", store="database")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "reading", away)
        told = scraped(server)
    assert told["modelward_database_up"] == 0
    assert "modelward_oldest_job_seconds" not in told


@pytest.mark.parametrize("error", [errors.StoreUnavailable("away", store="database"), RuntimeError("a defect")])
def test_what_cannot_be_told_of_mlflow_keeps_back_nothing_else(server: RunningServer, error: Exception) -> None:
    def broken() -> int:
        raise error

    collector = LedgerMetrics(server.app.ledger, broken)
    names = {family.name for family in collector.collect()}
    assert names == set(LedgerMetrics.NAMES) - {"modelward_mlflow_versions_behind"}


def test_a_defect_in_what_the_ledger_tells_breaks_no_scrape(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelward_server.observability.ledger_metrics._drift", None)
    told = scraped(server)
    assert told["modelward_database_up"] == 0
    assert told["modelward_mlflow_versions_behind"] >= 0


def test_without_a_port_nothing_is_measured(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    assert not hasattr(running.app, "metrics_port")
    with grpc.insecure_channel(running.target) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
    running.stop()


def test_connections_to_the_endpoint_are_few_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(metrics_endpoint, "CONNECTION_SECONDS", 1.0)
    running = RunningServer(Settings(port=0, metrics_port=0, data_dir=tmp_path / "data"))
    place = ("127.0.0.1", running.app.metrics_port)
    before = threading.active_count()
    silent = [socket.create_connection(place, PATIENCE_SECONDS) for _ in range(12)]
    for one in silent[3:]:
        assert one.recv(1) == b"", "there is no place for it"
    assert threading.active_count() - before <= 2 * 3, "a thread for each place, and a timer"
    for one in silent:
        assert one.recv(1) == b"", "it asks for nothing"
        one.close()
    eventually(lambda: threading.active_count() <= before)
    assert scraped(running)
    running.stop()
