"""An object store that sends a byte now and then: its readers end, and others get their places."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelward import Client, errors
from modelward_server.settings import Settings
from modelward_server.storage import parquet
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Starts a server, and waits for ends.

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: application/octet-stream\r\n\r\n"


def trickle(connection: socket.socket) -> None:
    """Answer a request with a byte each tenth of a second, without end."""
    with suppress(OSError), connection:
        connection.recv(65536)
        connection.sendall(HEAD)
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)


@pytest.fixture
def endpoint() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=trickle, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def client(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(parquet, "MAX_SILENT_SECONDS", 2.0)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    parquet._readers.close()  # One that was started in advance has the environment of before.
    allowed = ("s3://models/", f"file://{tmp_path}")
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", allowed_sources=allowed))
    with Client(running.target, timeout=PATIENCE_SECONDS) as client:
        yield client
    running.stop()
    parquet._readers.close()


def test_a_store_that_trickles_holds_no_reader(client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    version = client.register("spx", tmp_path / "model.bin")
    client.set_reference(version, {"ret": np.arange(100.0)})
    pq.write_table(pa.table({"ret": np.arange(100.0)}), tmp_path / "rows.parquet")

    def refused(number: int) -> None:
        with pytest.raises((errors.StoreUnavailable, errors.DeadlineExceeded)):
            client.detect_drift_uri(version, f"s3://models/{number}.parquet", timeout=5.0)

    with ThreadPoolExecutor(parquet.MAX_READERS) as pool:
        list(pool.map(refused, range(parquet.MAX_READERS)))
    assert client.detect_drift_uri(version, f"file://{tmp_path}/rows.parquet").rows == 100
