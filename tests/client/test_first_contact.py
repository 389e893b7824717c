"""A client that reaches no server says within seconds where it looked, and what is most likely wrong."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import AsyncClient, Client, errors
from modelward.shared.retry import actor_in
from modelward_server.settings import Settings
from tests.client.test_addresses import free_address
from tests.security.test_tls import issue
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.test_grpcurl import BINARY

pytestmark = pytest.mark.system  # Waits for servers that do not answer.

MAX_SECONDS = PATIENCE_SECONDS / 2
"""Two are meant, and a call that waits for its server takes all that it has; machines that test are busy."""
CALLS: dict[str, Callable[[Client], Any]] = {
    "a call": lambda client: client.get_model("spx"),
    "a list": lambda client: client.list_models()[0],
    "an upload": lambda client: client.register("spx", Path(__file__)),
    "a stream of answers": lambda client: next(client.export_audit_log()),
    "a watch": lambda client: next(client.watch("spx")),
    "a long call": lambda client: client.compare(["spx/1", "spx/2"], {"x": [1.0]}, [1.0]),
    "live data": lambda client: client.observe("spx/1", sender="engine", rows=10),
}


class Quiet(BaseHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def unreached(words: str) -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable, match=words):
        yield
    assert time.monotonic() - begun < MAX_SECONDS


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrong_port_is_told_at_once(call: Callable[[Client], Any]) -> None:
    address = free_address()
    with Client(address) as client, unreached(f"no Modelward server answers at {address}: nothing is listening there"):
        call(client)


async def test_wrong_port_is_told_at_once_without_threads() -> None:
    address = free_address()
    async with AsyncClient(address) as client:
        with unreached("nothing is listening there"):
            await client.get_model("spx")
        with unreached("nothing is listening there"):
            await anext(client.watch())


def test_name_that_no_host_has_is_told() -> None:
    with Client("nowhere.invalid:50061") as client, unreached("the host name cannot be resolved"):
        client.get_model("spx")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bytes]]:
    """A server with TLS, and its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, _ = issue(folder)
    settings = Settings(port=0, data_dir=folder, tls_cert=str(folder / "cert.pem"), tls_key=str(folder / "key.pem"))
    running = RunningServer(settings)
    yield running.target.replace("127.0.0.1", "localhost"), certificate
    running.stop()


def test_tls_that_one_side_only_speaks_is_told(encrypted: tuple[str, bytes], server: RunningServer) -> None:
    address, certificate = encrypted
    trusted = grpc.ssl_channel_credentials(certificate)
    with Client(address) as client, unreached("suggests that it requires TLS; pass credentials"):
        client.get_model("spx")
    with Client(server.target, credentials=trusted) as client, unreached("does not use TLS; omit the credentials"):
        client.get_model("spx")
    other = address.replace("localhost", "127.0.0.1")
    with Client(other, credentials=grpc.ssl_channel_credentials()) as client, unreached("do not trust"):
        client.get_model("spx")
    with Client(other, credentials=trusted) as client, unreached("for another host"):
        client.get_model("spx")


def test_server_of_http_is_told() -> None:
    other = HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with Client(f"127.0.0.1:{other.server_port}") as client, unreached("an HTTP/1 server"):
        client.get_model("spx")
    other.shutdown()
    other.server_close()


def test_server_that_comes_within_the_first_seconds_is_reached(tmp_path: Path) -> None:
    """A client that knows its server goes on for its whole timeout: `tests/system/test_retries.py`."""
    address = free_address()
    started: list[RunningServer] = []
    port = int(address.rpartition(":")[2])
    with Client(address) as client:
        waiting = threading.Timer(0.2, lambda: started.append(RunningServer(Settings(port=port, data_dir=tmp_path))))
        waiting.start()
        found = _until_reached(lambda: list(client.list_models()))
    waiting.join()
    started[0].stop()
    assert found == []


def _until_reached(call: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return call()
        except errors.Unavailable:
            continue
    raise TimeoutError


@pytest.mark.parametrize(
    ("target", "fix"),
    [
        ("http://localhost:5000", "'localhost:5000' without http://"),
        ("https://models:50061/api", "'models:50061' without https:// and credentials"),
        ("models-1:50061,http://models-2:50061", "'models-2:50061' without http://"),
        ("localhost", "localhost:50061"),
        ("localhost:port", "host:port"),
        ("localhost:99999", "host:port"),
        ("", "host:port"),
    ],
)
def test_address_of_another_form_is_refused_with_the_right_one(target: str, fix: str) -> None:
    for cls in (Client, AsyncClient):
        with pytest.raises(errors.InvalidField, match=f"target: .*{fix}"):
            cls(target)


@pytest.mark.parametrize("actor", ["Łukasz", "李明", "O'Brien, 100% sure"])
async def test_actor_may_have_any_name(server: RunningServer, name: str, actor: str) -> None:
    with Client(server.target, actor=actor) as client:
        client.create_model(f"{name}-sync")
        [record] = [one for one in client.export_audit_log() if one.model == f"{name}-sync"]
        assert record.actor == actor
    async with AsyncClient(server.target, actor=actor) as client:
        assert (await client.register(name, Path(__file__))).created_by == actor


def test_actor_that_does_not_show_is_refused() -> None:
    for actor in ("a\nb", "a\u202eb", "\ud800"):
        with pytest.raises(errors.InvalidField, match="actor"):
            Client(actor=actor)


def test_actor_is_read_from_either_header() -> None:
    assert actor_in({"modelward-actor": "grace"}) == "grace"
    assert actor_in({"modelward-actor": "100%41"}) == "100%41"
    assert actor_in({"modelward-actor-bin": "Łukasz".encode()}) == "Łukasz"
    assert actor_in({"modelward-actor-bin": b"\xff"}) == "\ufffd"
    assert actor_in({}) == ""


def test_actor_as_raw_utf_8_is_taken_as_other_tools_send_it(server: RunningServer, name: str) -> None:
    assert BINARY
    options = ["-plaintext", "-H", "modelward-actor: Łukasz", "-d", json.dumps({"model": name})]
    command = [BINARY, *options, server.target, "modelward.v1.LifecycleService/CreateModel"]
    sent = subprocess.run(command, capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr
    with Client(server.target) as client:
        [record] = [one for one in client.export_audit_log() if one.model == name]
    assert record.actor == "Łukasz"
