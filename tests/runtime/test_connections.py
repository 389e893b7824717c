"""Connections that say nothing are ended, and hold no file of the server for long."""

import socket
from pathlib import Path

import pytest

from modelward import Client
from modelward_server import app
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HANDSHAKE = "grpc.server_handshake_timeout_ms"


@pytest.mark.parametrize("said", [b"", b"PRI * HTT"], ids=["nothing", "half a greeting"])
def test_a_connection_that_does_not_greet_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    options = dict(app.GRPC_OPTIONS)
    assert 0 < options[HANDSHAKE] <= 10_000
    monkeypatch.setattr(app, "GRPC_OPTIONS", [*(options | {HANDSHAKE: 300}).items()])
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    host, port = running.target.split(":")
    with Client(running.target) as client, socket.create_connection((host, int(port)), 60) as silent:
        client.create_model("spx")
        silent.sendall(said)
        while silent.recv(4096):  # The server's own greeting comes first.
            pass
        assert client.get_model("spx").name == "spx"
    running.stop()
