"""Connections to the console that say nothing, stop in the middle or do not read: they end, and others are served."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelward import Client
from modelward_server.console import connections
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Starts a server, and waits for ends.

HALF = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-More: ",
    "a request and half of the next": b"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT",
}
ANSWERS = b"GET /static/console.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 400


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    running = RunningServer(Settings(port=0, data_dir=tmp_path, console_port=0))
    yield running
    running.stop()


def connect(running: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.app.console.port), PATIENCE_SECONDS)


def is_ended(connection: socket.socket) -> bool:
    """Read until the console ends a connection."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("said", HALF)
def test_a_connection_that_asks_for_nothing_is_ended(running: RunningServer, said: str) -> None:
    with connect(running) as silent:
        silent.sendall(HALF[said])
        assert is_ended(silent)
    assert httpx.get(f"http://127.0.0.1:{running.app.console.port}/").status_code == 200


def test_a_connection_that_does_not_read_is_ended(running: RunningServer) -> None:
    held = running.app.console._server.server_state.connections
    with connect(running) as deaf:
        eventually(lambda: held)
        deaf.setblocking(False)
        sent = 0
        while held:
            try:
                sent += deaf.send(ANSWERS[sent:] or ANSWERS)
            except OSError:  # It takes no more now, or has ended.
                time.sleep(0.01)
    assert httpx.get(f"http://127.0.0.1:{running.app.console.port}/").status_code == 200


async def test_an_open_page_that_reads_is_not_ended(running: RunningServer) -> None:
    address = f"http://127.0.0.1:{running.app.console.port}"
    async with (
        httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as browser,
        browser.stream("GET", "/events?page=/") as events,
    ):
        lines = events.aiter_lines()
        await asyncio.sleep(4 * connections.IDLE_SECONDS)
        await asyncio.to_thread(_halt, running)
        async for line in lines:
            if "exchange outage" in line:
                break


def _halt(running: RunningServer) -> None:
    with Client(running.target) as client:
        client.create_model("spx")
        client.halt("spx", reason="exchange outage")


def test_more_connections_than_there_may_be_are_ended_at_once(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", PATIENCE_SECONDS)
    held = [connect(running) for _ in range(connections.MAX_CONNECTIONS)]
    eventually(lambda: len(running.app.console._server.server_state.connections) == len(held))
    with connect(running) as further, Client(running.target) as client:
        assert is_ended(further)
        client.create_model("spx")
    for one in held:
        one.close()
    eventually(lambda: not running.app.console._server.server_state.connections)
    assert httpx.get(f"http://127.0.0.1:{running.app.console.port}/").status_code == 200
