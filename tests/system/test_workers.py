"""`modelward serve --processes`: several processes on one port, which are replaced when they die and stop together."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import Client, VersionRef
from tests.security.test_tls import issue
from tests.support.ports import free_port
from tests.support.server_process import ServerProcess, bare_environment
from tests.support.waiting import PATIENCE_SECONDS

WORKERS = 2
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class ServedByWorkers(ServerProcess):
    """A supervisor and its workers; it prints its address when all of them serve."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__(folder / "data", folder / "log", "--processes", str(WORKERS), *flags)

    def _wait_until_serving(self) -> None:
        """There is nothing to wait for, and the certificate is not known here."""

    @property
    def workers(self) -> list[int]:
        """The processes of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()  # Those that follow it are hardly ever taken.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[ServedByWorkers]:
    """Workers on SQLite, with a certificate: PostgreSQL has more than one server in other tests."""
    folder = tmp_path_factory.mktemp("workers")
    issue(folder)
    files = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
    server = ServedByWorkers(folder, "--metrics-port", str(metrics_port), *files)
    yield server
    server.kill()


def client_of(served: ServedByWorkers) -> Client:
    authority = served.data_dir.with_name("cert.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(authority)
    return Client(served.target.replace("127.0.0.1", "localhost"), credentials=credentials)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def calls_answered(port: int) -> bool:
    """Tell whether a worker, by its metrics, has answered calls."""
    scraped = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS).read().decode()
    return 'grpc_method="GetModel"' in scraped


def test_connections_are_shared_out_and_each_worker_has_metrics(served: ServedByWorkers, metrics_port: int) -> None:
    assert len(served.workers) == WORKERS

    def connect() -> bool:
        certificate = served.data_dir.with_name("cert.pem").read_bytes()
        secure = grpc.ssl_channel_credentials(certificate)
        place = served.target.replace("127.0.0.1", "localhost")
        with grpc.secure_channel(place, secure, options=OWN_CONNECTION) as channel:
            get: Any = channel.unary_unary("/modelward.v1.LifecycleService/GetModel")
            with pytest.raises(grpc.RpcError):
                get(b"", timeout=PATIENCE_SECONDS)
        return all(calls_answered(metrics_port + number) for number in range(WORKERS))

    wait_until(connect)


def test_worker_that_is_killed_is_replaced_and_no_write_is_lost(served: ServedByWorkers, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    before, acknowledged = served.workers, list[VersionRef]()
    with client_of(served) as client:
        acknowledged.append(client.register("killed", tmp_path / "model.bin").ref)
        for killed in before:
            os.kill(killed, signal.SIGKILL)
        acknowledged.append(client.register("killed", tmp_path / "model.bin").ref)
        assert [version.ref for version in client.list_versions("killed")][::-1] == acknowledged
        assert client.verify_audit_log().intact
    wait_until(lambda: len(served.workers) == WORKERS and not {*served.workers} & {*before})
    assert served.log.read_text().count("was ended by SIGKILL; another one starts in 0.1 s") == WORKERS


def test_new_certificate_is_served_by_every_worker(served: ServedByWorkers) -> None:
    authority, _ = issue(served.data_dir.parent)
    secure = grpc.ssl_channel_credentials(authority)
    for _ in range(8):
        place = served.target.replace("127.0.0.1", "localhost")
        with grpc.secure_channel(place, secure, options=OWN_CONNECTION) as channel:
            grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_second_server_on_the_port_fails(served: ServedByWorkers, workers: str, tmp_path: Path) -> None:
    port = served.target.rpartition(":")[2]
    flags = ["--port", port, "--processes", workers, "--data-dir", str(tmp_path)]
    done = _serve(*flags)
    assert (done.returncode, done.stderr) == (1, f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


@pytest.mark.weekly
def test_worker_that_cannot_begin_ends_all_and_says_why(tmp_path: Path) -> None:
    files = ["--tls-cert", str(tmp_path / "none.pem"), "--tls-key", str(tmp_path / "none.pem")]
    done = _serve("--port", "0", "--processes", "2", "--data-dir", str(tmp_path / "data"), *files)
    assert done.returncode == 1
    assert "none.pem: No such file or directory" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("could not begin to serve")
    assert "Traceback" not in done.stderr


def test_metrics_need_a_port_for_each_worker(tmp_path: Path) -> None:
    done = _serve("--port", "0", "--processes", "2", "--data-dir", str(tmp_path), "--metrics-port", "65535")
    assert done.returncode == 2
    assert done.stderr.startswith("--metrics-port (MODELWARD_METRICS_PORT): ")


def _serve(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "modelward", "serve", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=bare_environment()
    )


def test_workers_end_with_a_supervisor_that_is_killed(served: ServedByWorkers) -> None:
    workers = served.workers
    assert len(workers) == WORKERS
    served.kill()
    wait_until(lambda: not any(map(_runs, workers)))


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for has ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
