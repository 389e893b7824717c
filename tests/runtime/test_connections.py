"""Connections that say nothing are ended, and hold no file of the server for long."""

import resource
import socket
from pathlib import Path

import pytest

from modelward import Client
from modelward_server import app
from modelward_server.runtime.file_limit import MAX_FILES, raise_file_limit
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HANDSHAKE, IDLE = "grpc.server_handshake_timeout_ms", "grpc.max_connection_idle_ms"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The client's preface, and its settings, which are empty (RFC 9113, 3.4)."""


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


def test_a_connection_that_greets_and_calls_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dict(app.GRPC_OPTIONS)
    assert 0 < options[IDLE] <= 600_000
    monkeypatch.setattr(app, "GRPC_OPTIONS", [*(options | {IDLE: 300}).items()])
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    host, port = running.target.split(":")
    with socket.create_connection((host, int(port)), 60) as idle:
        idle.sendall(GREETING)
        while idle.recv(4096):
            pass
    with Client(running.target) as client:
        client.create_model("spx")
    running.stop()


def test_a_server_may_open_more_files_than_its_shell_says() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(before[1], MAX_FILES)
        assert hard == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
