"""What the server stands on gives way: the disk is full, the database restarts, MLflow hangs, the clock is set back.

Callers hear a status that says so, nothing is half done, and all goes on by itself when the cause is gone.
"""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from modelward import Client
from modelward.errors import DeadlineExceeded, LimitReached, ModelwardError, Unavailable
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.runtime.background import TaskState
from modelward_server.settings import Settings
from modelward_server.storage import audit, postgres
from tests.support.forked_server import ForkedServer
from tests.support.postgres import NOT_INSTALLED, controlled_postgres, new_database, programs
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS, eventually

Serve = Callable[..., ForkedServer]

WRITERS = 4
PROMPT_SECONDS = 30.0
"""What an answer may take that needs nothing of what is away."""


def file_of(folder: Path, size: int) -> Path:
    path = folder / f"model-{size}.bin"
    path.write_bytes(os.urandom(size))
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_said_to_be_full_and_nothing_is_half_done(
    serve: Serve, small_disk: Path, tmp_path: Path
) -> None:
    server = serve(data_dir=small_disk / "data")
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        client.register("spx", file_of(tmp_path, 1000))
        with pytest.raises(LimitReached) as full:
            client.register("spx", file_of(tmp_path, 32 << 20))
        assert full.value.metadata == {"limit": "disk"}
        assert list((small_disk / "data" / "blobs" / "incoming").iterdir()) == []
        assert client.register("spx", file_of(tmp_path, 1001)).version == 2  # What it took was given back.
    assert "Traceback" not in server.log.read_text()


def test_a_ledger_without_room_refuses_to_write_and_still_reads(serve: Serve, small_disk: Path, tmp_path: Path) -> None:
    server = serve(data_dir=small_disk / "data")
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        client.register("spx", file_of(tmp_path, 1000))
        ballast = small_disk / "ballast"
        _fill_up(ballast)
        with pytest.raises(LimitReached) as full:
            _describe_at_length(client)
        assert full.value.metadata == {"limit": "disk"}
        assert client.get_model("spx").latest_version == 1
        ballast.unlink()
        client.update_model("spx", description="there is room again")
        assert client.verify_audit_log().intact
    assert "Traceback" not in server.log.read_text()


def _describe_at_length(client: Client) -> None:
    for _ in range(1_000):
        client.update_model("spx", description=os.urandom(4_000).hex())


def _fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


class Writers:
    """Clients that change models one after the other, each its own, and remember what was acknowledged.

    Args:
        patience: seconds for which each tries a change again while the server is away.
        expected: what may come of a change after that; the writer begins it anew.
    """

    def __init__(self, target: str, patience: float, expected: tuple[type[ModelwardError], ...] = ()) -> None:
        self._target, self._patience, self._expected = target, patience, expected
        self._ended = threading.Event()
        self.acknowledged = dict.fromkeys((f"model-{i}" for i in range(WRITERS)), 0)
        with Client(target, timeout=PATIENCE_SECONDS) as client:
            for model in self.acknowledged:
                client.create_model(model, description="0")
        self._pool = ThreadPoolExecutor(WRITERS)
        self._work = [self._pool.submit(self._write, model) for model in self.acknowledged]

    def _write(self, model: str) -> None:
        with Client(self._target, timeout=self._patience) as client:
            while not self._ended.is_set():
                with suppress(*self._expected):
                    client.update_model(model, description=str(self.acknowledged[model] + 1))
                    self.acknowledged[model] += 1

    def wait_for(self, more: int) -> None:
        """Wait until each has been acknowledged so many changes more."""
        wanted = {model: n + more for model, n in self.acknowledged.items()}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(self.acknowledged[model] < n for model, n in wanted.items()):
            assert time.monotonic() < deadline, self.acknowledged
            time.sleep(0.01)

    def end(self) -> None:
        """Let them finish; raise what went wrong in one."""
        self._ended.set()
        for work in self._work:
            work.result(PATIENCE_SECONDS)

    def check(self, target: str) -> None:
        """Nothing that was acknowledged is lost, and nothing came twice: only an answer may have been."""
        with Client(target, timeout=PATIENCE_SECONDS) as client:
            for model, n in self.acknowledged.items():
                assert int(client.get_model(model).description) in {n, n + 1}
            assert client.verify_audit_log().intact


def test_a_database_that_restarts_is_waited_for(serve: Serve) -> None:
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip(NOT_INSTALLED)
    with controlled_postgres(bin_dir) as cluster:
        server = serve("--database-url", new_database(cluster.url))
        writers = Writers(server.target, PATIENCE_SECONDS)
        for _ in range(20 if FULL else 2):
            writers.wait_for(10)
            cluster.stop()
            with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as away:
                LifecycleServiceStub(channel).GetModel(pb.GetModelRequest(model="model-0"), timeout=PROMPT_SECONDS)
            assert away.value.code() is grpc.StatusCode.UNAVAILABLE
            wait_for_health(server.target, HealthCheckResponse.NOT_SERVING)
            cluster.start()
            wait_for_health(server.target, HealthCheckResponse.SERVING)
        writers.wait_for(10)
        writers.end()
        writers.check(server.target)
        server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.weekly
def test_a_database_whose_processes_are_stopped_is_unavailable_until_they_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip(NOT_INSTALLED)
    monkeypatch.setattr(postgres, "PING_SECONDS", 1)
    monkeypatch.setattr(postgres.BoundedConnection, "silence_seconds", 2.0)
    monkeypatch.setitem(postgres.CONNECTION_OPTIONS, "connect_timeout", 2)
    with controlled_postgres(bin_dir) as cluster:
        settings = Settings(port=0, data_dir=tmp_path / "data", database_url=new_database(cluster.url))
        server = RunningServer(settings)
        writers = Writers(server.target, PATIENCE_SECONDS)
        writers.wait_for(5)
        with cluster.stopped():
            assert set(ends_of_calls(server.target, 25)) == {grpc.StatusCode.UNAVAILABLE}
            wait_for_health(server.target, HealthCheckResponse.NOT_SERVING)
            assert set(ends_of_calls(server.target, 200)) == {grpc.StatusCode.UNAVAILABLE}  # None waits for another.
        wait_for_health(server.target, HealthCheckResponse.SERVING)
        writers.wait_for(5)
        writers.end()
        writers.check(server.target)
        eventually(lambda: {task.state for task in server.app.background.statuses} == {TaskState.RUNNING})
        server.stop()


def ends_of_calls(target: str, number: int) -> list[grpc.StatusCode]:
    """Make calls of each kind at once and return how they end; each has 20 seconds."""
    with grpc.insecure_channel(target) as channel:
        stub = LifecycleServiceStub(channel)
        requests: list[tuple[Any, Any]] = [
            (stub.GetModel, pb.GetModelRequest(model="model-0")),
            (stub.ListModels, pb.ListModelsRequest()),
            (stub.CreateModel, pb.CreateModelRequest(model="fresh")),
            (stub.HaltModel, pb.HaltModelRequest(model="model-0", reason="the market is closed")),
            (stub.ListTransitions, pb.ListTransitionsRequest(model="model-0")),
        ]
        calls = [call.future(request, timeout=20) for call, request in requests * (number // 5)]
        return [call.code() for call in calls]


def wait_for_health(target: str, status: int) -> None:
    with grpc.insecure_channel(target) as channel:
        stub: Any = HealthStub(channel)
        end = time.monotonic() + PATIENCE_SECONDS
        while stub.Check(HealthCheckRequest(service="database"), timeout=PROMPT_SECONDS).status != status:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize("turn", range(20 if FULL else 1))
def test_sigterm_under_load_loses_nothing(serve: Serve, turn: int) -> None:
    server = serve()
    writers = Writers(server.target, patience=1, expected=(Unavailable, DeadlineExceeded))
    writers.wait_for(10 + turn)
    assert server.stop() == 0
    writers.end()
    assert "Traceback" not in server.log.read_text()
    writers.check(serve().target)


@pytest.fixture
def hanging_mlflow() -> Iterator[str]:
    """A tracking server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_mlflow_that_hangs_holds_up_nobody(serve: Serve, hanging_mlflow: str, tmp_path: Path) -> None:
    env = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MODELWARD_GRACE_SECONDS": "1"}
    server = serve("--mlflow-uri", hanging_mlflow, env=env)
    with Client(server.target, timeout=PROMPT_SECONDS) as client:
        for version in (1, 2, 3):
            assert client.register("spx", file_of(tmp_path, 1000 + version)).version == version
            client.promote(f"spx/{version}", to="staging")
            client.promote(f"spx/{version}", to="production", reason="it passed its tests")
            assert client.resolve("spx").version.version == version
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


class SteppingClock(datetime):
    """A clock that is set back by an hour whenever it is looked at."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "SteppingClock":
        SteppingClock.looks += 1
        return super().now(tz) - timedelta(hours=cls.looks)


def test_history_goes_forward_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    with Client(server.target) as client:
        version = client.register("spx", file_of(tmp_path, 1000))
        monkeypatch.setattr(audit, "datetime", SteppingClock)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        times = [move.moved_at for move in client.list_transitions("spx")]  # The newest first.
        assert SteppingClock.looks >= 2
        assert times == sorted(times, reverse=True)
        assert client.verify_audit_log().intact
    server.stop()
