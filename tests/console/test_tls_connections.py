"""The console over TLS: handshakes that stop in the middle end soon, count as connections, and others are served."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelward_server.console import connections
from modelward_server.settings import Settings
from tests.console.test_connections import connect, is_ended
from tests.security.test_tls import issue
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Starts a server, and waits for ends.


def serve(folder: Path) -> RunningServer:
    issue(folder)
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    return RunningServer(Settings(port=0, data_dir=folder / "data", console_port=0, tls_cert=cert, tls_key=key))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    running = serve(tmp_path)
    yield running
    running.stop()


def status(running: RunningServer) -> int:
    trusted = ssl.create_default_context(cafile=running.settings.tls_cert)
    with httpx.Client(verify=trusted, timeout=PATIENCE_SECONDS) as browser:
        return browser.get(f"https://localhost:{running.app.console.port}/").status_code


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_does_not_end_is_ended(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_SECONDS", 0.3)
    with connect(running) as silent:
        silent.sendall(said)
        assert is_ended(silent)
    monkeypatch.undo()
    assert status(running) == 200


def test_handshakes_count_as_connections(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    held: list[socket.socket] = [connect(running) for _ in range(20)]
    eventually(lambda: len(running.app.console._server.server_state.connections) == 20)
    with connect(running) as further:
        assert is_ended(further)
    for one in held:
        one.close()
    eventually(lambda: not running.app.console._server.server_state.connections)
    assert status(running) == 200


def test_a_server_with_open_handshakes_stops(tmp_path: Path) -> None:
    running = serve(tmp_path)
    with connect(running) as silent:
        eventually(lambda: running.app.console._server.server_state.connections)
        running.stop()
        assert is_ended(silent)
