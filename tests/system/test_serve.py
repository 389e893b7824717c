"""The server as a process: it starts on nothing, stops when told, and keeps what it acknowledged."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from modelward import Client, ModelwardError, Stage
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.mlflow.client import connect
from tests.support.forked_server import ForkedServer
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_SECONDS, eventually

Serve = Callable[..., ForkedServer]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Give a function that starts a server as an operator does."""
    started: list[ServerProcess] = []

    def start(data_dir: Path = tmp_path / "data", env: dict[str, str] | None = None) -> ServerProcess:
        started.append(ServerProcess(data_dir, tmp_path / f"server-{len(started)}.log", env=env))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def model_file(folder: Path) -> Path:
    path = folder / "model.bin"
    path.write_bytes(b"weights" * 1000)
    return path


def test_it_serves_on_a_fresh_data_folder(launch: Callable[..., ServerProcess], tmp_path: Path) -> None:
    server = launch(data_dir=tmp_path / "not" / "there" / "yet")
    with Client(server.target) as client:
        assert list(client.list_models()) == []


def test_sigterm_stops_it_with_exit_code_zero(launch: Callable[..., ServerProcess]) -> None:
    assert launch().stop() == 0


def test_settings_come_from_the_environment_and_a_flag_wins(
    launch: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    env = {"MODELWARD_DATA_DIR": str(tmp_path / "env"), "MODELWARD_ALLOWED_SOURCES": f"file://{tmp_path}/"}
    server = launch(data_dir=tmp_path / "flag", env=env)
    with Client(server.target) as client:
        version = client.register_uri("by-uri", model_file(tmp_path).as_uri())
    assert version.version == 1
    assert not (tmp_path / "env").exists()
    assert (tmp_path / "flag").exists()


def refused(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelward", "serve", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=os.environ | env
    )


def test_a_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refused("--port", port, "--data-dir", str(tmp_path / "data"))
    assert done.returncode != 0
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_makes_no_sense_is_an_error_that_names_it(tmp_path: Path) -> None:
    done = refused("--data-dir", str(tmp_path / "data"), MODELWARD_WORKER_SECONDS="-1")
    assert done.returncode != 0
    assert "worker" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def is_refused(target: str) -> bool:
    """Return whether a new connection is made no more."""
    try:
        with Client(target, timeout=1) as client:
            return bool(client.list_models())
    except ModelwardError:
        return True


def test_a_call_in_flight_finishes_while_new_ones_are_refused(serve: Serve) -> None:
    server, content = serve(), b"x" * 1000
    under_way, go_on = threading.Event(), threading.Event()
    digest = hashlib.sha256(content).hexdigest()

    def slowly() -> Iterator[pb.UploadBlobsRequest]:
        yield pb.UploadBlobsRequest(header=pb.BlobHeader(sha256=digest, size_bytes=len(content)))
        yield pb.UploadBlobsRequest(chunk=content[:500])
        under_way.set()
        go_on.wait(PATIENCE_SECONDS)
        yield pb.UploadBlobsRequest(chunk=content[500:])

    with grpc.insecure_channel(server.target) as channel, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(LifecycleServiceStub(channel).UploadBlobs, slowly(), timeout=PATIENCE_SECONDS)
        under_way.wait(PATIENCE_SECONDS)
        server.tell_to_stop()
        eventually(lambda: is_refused(server.target))
        go_on.set()
        assert [blob.sha256 for blob in answer.result(PATIENCE_SECONDS).blobs] == [digest]
    assert server.wait(PATIENCE_SECONDS) == 0


def test_a_restart_keeps_everything(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    with Client(server.target, actor="quant") as client:
        before = client.register("kept", model_file(tmp_path), metrics={"accuracy": 0.5}, tags={"desk": "rates"})
        client.promote(before, to="staging")
        client.promote(before, to="production", reason="first")
        moves = list(client.list_transitions("kept"))
    server.stop()
    with Client(serve().target) as client:
        after = client.resolve("kept").version
        assert (after.files, after.metrics, after.tags, after.stage) == (
            before.files,
            before.metrics,
            before.tags,
            Stage.PRODUCTION,
        )
        assert list(client.list_transitions("kept")) == moves
        assert client.verify_audit_log().intact
        assert (client.download(after, tmp_path / "back") / "model.bin").read_bytes() == b"weights" * 1000


@pytest.mark.weekly
def test_a_clean_stop_leaves_mlflow_with_the_last_promotion(serve: Serve, tmp_path: Path) -> None:
    server = serve(env={"MODELWARD_GRACE_SECONDS": "60"})
    with Client(server.target) as client:
        version = client.register("shown", model_file(tmp_path))
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    server.tell_to_stop()
    assert server.wait(PATIENCE_SECONDS) == 0
    aliases = connect(f"sqlite:///{server.data_dir}/mlflow.db").get_registered_model("shown").aliases
    assert set(aliases) == {"production"}


def test_a_kill_loses_nothing_that_was_acknowledged(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    acknowledged: list[int] = []
    path = model_file(tmp_path)

    def write() -> None:
        while True:
            version = client.register("hit", path, params={"n": str(len(acknowledged))})
            client.promote(version, to="staging")
            client.promote(version, to="production", reason="it passed its tests")
            acknowledged.append(version.version)

    with ThreadPoolExecutor(1) as pool, Client(server.target, timeout=PATIENCE_SECONDS) as client:
        writing = pool.submit(write)
        eventually(lambda: len(acknowledged) >= 5 or writing.done())
        server.kill()
        client.close()  # It would try again.
        assert isinstance(writing.exception(PATIENCE_SECONDS), ModelwardError)
    with Client(serve().target) as client:
        kept = {version.version: version.stage for version in client.list_versions("hit")}
        assert set(acknowledged) <= set(kept)
        assert list(kept.values()).count(Stage.PRODUCTION) == 1
        assert client.resolve("hit").version.version >= acknowledged[-1]
        assert client.verify_audit_log().intact
        client.register("hit", path)
