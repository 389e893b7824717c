"""What the health service says of the server, its database and its MLflow, each by itself."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from modelward import Client, errors
from modelward.cli.commands import cli
from modelward_server.observability import health
from modelward_server.observability.health import is_reached
from modelward_server.rpc.health import MAX_WATCHES_OF_CLIENT
from modelward_server.settings import Settings
from modelward_server.storage.ledger import Ledger
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Starts servers.

GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or "grpcurl"
SERVICE = "modelward.v1.DriftService"


class Tracking(BaseHTTPRequestHandler):
    """As much of a tracking server as health asks for."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def tracking() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Tracking) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(tmp_path: Path, tracking: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(health, "SECONDS", 0.1)
    uri = f"http://127.0.0.1:{tracking.server_port}"
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", mlflow_uri=uri, channelz=True))
    yield running
    running.stop()


def told(server: RunningServer, *services: str) -> list[str]:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = HealthStub(channel)
        answers = [stub.Check(HealthCheckRequest(service=name)) for name in services]
    return [HealthCheckResponse.ServingStatus.Name(answer.status) for answer in answers]


def wait_until(server: RunningServer, state: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while told(server, "", SERVICE, "database", "mlflow") != state:
        assert time.monotonic() < deadline, told(server, "", SERVICE, "database", "mlflow")
        time.sleep(0.05)


UP, DOWN = "SERVING", "NOT_SERVING"


def test_an_mlflow_that_is_away_is_told_of_by_itself(server: RunningServer, tracking: ThreadingHTTPServer) -> None:
    wait_until(server, [UP, UP, UP, UP])
    tracking.shutdown()
    tracking.server_close()
    wait_until(server, [UP, UP, UP, DOWN])
    with Client(server.target) as client:
        client.create_model("spx")  # All else goes on.


def test_a_database_that_is_away_takes_the_server_with_it_until_it_is_back(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Ledger) -> Any:
        raise errors.StoreUnavailable("the disk is gone", store="ledger")

    said = CliRunner().invoke(cli, ["health", "--server", server.target, "--json"])
    found = json.loads(said.stdout)
    assert (said.exit_code, found["database"]) == (0, "serving")
    assert found["models confined by"].endswith(("limits", "not known yet"))
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "reading", away)
        wait_until(server, [DOWN, DOWN, DOWN, UP])
        said = CliRunner().invoke(cli, ["health", "--server", server.target])
        assert said.exit_code == 1
        assert "not serving" in said.stdout
    wait_until(server, [UP, UP, UP, UP])


def test_stores_are_reached_or_not(tmp_path: Path, tracking: ThreadingHTTPServer) -> None:
    uri = f"http://127.0.0.1:{tracking.server_port}"
    assert is_reached(uri)
    assert is_reached(f"{uri}/behind/a/proxy")  # Whatever it answers, somebody is there.
    assert not is_reached("http://127.0.0.1:1")
    assert is_reached(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert not (tmp_path / "mlflow.db").exists()  # An empty one would keep MLflow from making it at once or not at all.
    assert not is_reached("postgresql+psycopg://127.0.0.1:1/mlflow?connect_timeout=1")


def test_channelz_shows_the_connections_where_it_is_switched_on(server: RunningServer, tmp_path: Path) -> None:
    found = _channelz(server.target)
    assert json.loads(found.stdout)["server"], found.stderr
    plain = RunningServer(Settings(port=0, data_dir=tmp_path / "plain"))
    assert _channelz(plain.target).returncode != 0
    plain.stop()


def _channelz(target: str) -> subprocess.CompletedProcess[str]:
    line = [GRPCURL, "-plaintext", target, "grpc.channelz.v1.Channelz/GetServers"]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_watches_of_health_are_limited_and_each_is_told_of_changes(
    server: RunningServer, tracking: ThreadingHTTPServer
) -> None:
    """Whoever has no credential may watch, any name."""
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = HealthStub(channel)
        watches = [
            stub.Watch(HealthCheckRequest(service="mlflow"), timeout=PATIENCE_SECONDS)
            for _ in range(MAX_WATCHES_OF_CLIENT - 1)
        ]
        watches.append(stub.Watch(HealthCheckRequest(service="made up"), timeout=PATIENCE_SECONDS))
        first = [next(watch).status for watch in watches]
        assert first == [HealthCheckResponse.SERVING] * len(watches[1:]) + [HealthCheckResponse.SERVICE_UNKNOWN]
        with pytest.raises(grpc.RpcError, match="100 watches of health under way") as refused:
            next(stub.Watch(HealthCheckRequest(), timeout=PATIENCE_SECONDS))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        tracking.shutdown()
        tracking.server_close()
        assert {next(watch).status for watch in watches[:-1]} == {HealthCheckResponse.NOT_SERVING}
        for watch in watches:
            watch.cancel()
