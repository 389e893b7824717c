"""Webhooks: signed, repeated until taken, never lost, and never to an address inside."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelward import Client
from modelward_server.settings import Settings
from modelward_server.store.audit import Kind
from modelward_server.store.tables import AuditRow
from modelward_server.webhooks.messages import is_told, message_of
from modelward_server.webhooks.sending import DeliveryError, Sender, is_public
from tests.conftest import RunningServer, new_database

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()
PATIENCE_SECONDS = 30.0


@dataclass
class Receiver:
    """Takes what webhooks bring, and answers what it is told to."""

    statuses: list[int] = field(default_factory=list)
    """What to answer next; 204 when there is nothing left."""
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __enter__(self) -> "Receiver":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?team=risk"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.calls.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base class calls it so
                pass

        return Handler

    def messages(self, count: int) -> list[dict[str, Any]]:
        """Return what was brought, once it is so many."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.calls) < count:
            assert time.monotonic() < deadline, self.calls
            time.sleep(0.02)
        return [json.loads(body) for _, body in self.calls]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Settings:
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    return Settings(
        port=0,
        data_dir=tmp_path / "data",
        database_url=url,
        webhooks=(receiver.url,),
        webhooks_secret=SECRET,
        webhooks_private=True,
    )


def _happen(target: str, model: str) -> None:
    """Ask for retraining, lease the job and give it up: three states."""
    with Client(target, actor="ada") as client:
        client.create_model(model)
        client.request_retraining(model)
        client.fail_job(client.lease_job(model, holder="w"), "no data", give_up=True)


def _states(messages: list[dict[str, Any]], model: str) -> list[str]:
    return [said["data"]["job"]["state"] for said in messages if said["data"]["model"] == model]


def test_what_happens_is_told_in_order_and_signed_also_by_two_servers(settings: Settings, receiver: Receiver) -> None:
    servers = [RunningServer(settings) for _ in range(2)]
    try:
        _happen(servers[0].target, "one")
        messages = receiver.messages(3)
        assert [said["type"] for said in messages] == ["job"] * 3
        assert _states(messages, "one") == ["pending", "leased", "failed"]
        for told, body in receiver.calls:
            signed = f"{told['webhook-id']}.{told['webhook-timestamp']}.".encode() + body
            expected = base64.b64encode(hmac.new(b"a secret of the tests", signed, hashlib.sha256).digest()).decode()
            assert told["webhook-signature"] == f"v1,{expected}"
            assert abs(time.time() - int(told["webhook-timestamp"])) < PATIENCE_SECONDS
        _happen(servers[1].target, "two")
        receiver.messages(6)
        ids = [told["webhook-id"] for told, _ in receiver.calls]
        assert len(set(ids)) == len(ids) == 6
    finally:
        for server in servers:
            server.stop()


def test_what_is_not_taken_is_told_again_before_what_comes_after(settings: Settings, receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    server = RunningServer(settings)
    _happen(server.target, "one")
    messages = receiver.messages(5)
    server.stop()
    assert _states(messages, "one") == ["pending", "pending", "pending", "leased", "failed"]
    ids = [told["webhook-id"] for told, _ in receiver.calls]
    assert len(set(ids)) == 3


def test_a_restart_loses_nothing(settings: Settings, receiver: Receiver) -> None:
    receiver.statuses = [503] * 1000
    first = RunningServer(settings)
    _happen(first.target, "one")
    receiver.messages(1)
    first.stop()
    receiver.calls.clear()
    receiver.statuses.clear()
    second = RunningServer(settings)
    assert _states(receiver.messages(3), "one") == ["pending", "leased", "failed"]
    second.stop()


def test_promotions_are_told(settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    server = RunningServer(settings)
    with Client(server.target, actor="ada") as client:
        client.promote(client.register("one", tmp_path / "model.bin"), to="staging", reason="looks good")
        [said] = receiver.messages(1)
    server.stop()
    assert (said["type"], said["data"]["actor"], said["data"]["version"]) == ("transition", "ada", 1)
    assert said["data"]["transition"]["reason"] == "looks good"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    ],
)  # fmt: skip
def test_addresses_inside_are_told_from_public_ones(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_private_address_is_not_called(receiver: Receiver) -> None:
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(DeliveryError, match="is not a public address; MODELWARD_WEBHOOKS_PRIVATE allows such"):
            Sender(allow_private=False).post(url, b"{}", {})
    assert receiver.calls == []


def test_a_name_with_one_address_inside_is_not_called_and_is_looked_up_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "hook.example":
            return real(host, port, *args, **kwargs)
        looked_up.append(host)
        answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]][len(looked_up) > 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = receiver.url.replace("127.0.0.1", "hook.example")
    with pytest.raises(DeliveryError, match=r"hook.example means 127.0.0.1"):
        Sender(allow_private=False).post(url, b"{}", {})
    assert looked_up == ["hook.example"]
    Sender(allow_private=True).post(url, b"{}", {})
    assert [told["host"].partition(":")[0] for told, _ in receiver.calls] == ["hook.example"]
    assert len(looked_up) == 2


@pytest.mark.parametrize("given", [{"webhooks": "ftp://a.example/"}, {"webhooks_secret": "whsec_no base64"}], ids=str)
def test_settings_that_make_no_sense_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"webhooks"):
        Settings(**given)  # type: ignore[arg-type]


def _record(sequence: int, at: datetime, kind: Kind) -> AuditRow:
    facts = {"actor": "ada", "model": "spx", "version": 1, "payload": '{"reason": "x"}', "previous_hash": "0" * 64}
    return AuditRow(sequence=sequence, happened_at=at, kind=kind, hash=f"{sequence:064x}", **facts)


def test_hash_of_each_record_that_is_told_goes_with_it_and_the_head_is_told_now_and_then() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    move, policy = _record(7, noon, Kind.TRANSITION), _record(8, noon, Kind.POLICY)
    assert (is_told(move, noon), is_told(policy, noon), is_told(policy, None)) == (True, False, False)
    said = json.loads(message_of(move).body)
    assert (said["type"], said["data"]["hash"], said["data"]["actor"]) == ("transition", f"{7:064x}", "ada")
    assert is_told(policy, noon - timedelta(days=1))
    assert is_told(_record(300, noon, Kind.POLICY), noon)
    head = json.loads(message_of(policy).body)
    assert (head["type"], head["data"]) == ("audit.head", {"sequence": 8, "hash": f"{8:064x}"})
