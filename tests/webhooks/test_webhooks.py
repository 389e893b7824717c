"""Webhooks: signed, repeated until taken, never lost, and never to an address inside."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelward import Client
from modelward_server.settings import Settings
from modelward_server.storage.audit import Kind
from modelward_server.storage.tables import AuditRow
from modelward_server.webhooks import sending
from modelward_server.webhooks.addresses import is_public
from modelward_server.webhooks.messages import is_delivered, message_of
from modelward_server.webhooks.sending import DeliveryError, Sender
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.webhook_receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(params=DATABASES)
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


@pytest.mark.system  # Takes seconds.
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


@pytest.mark.system  # Takes seconds.
@pytest.mark.weekly("postgresql")
def test_what_is_not_taken_is_told_again_before_what_comes_after(settings: Settings, receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    server = RunningServer(settings)
    _happen(server.target, "one")
    messages = receiver.messages(5)
    server.stop()
    assert _states(messages, "one") == ["pending", "pending", "pending", "leased", "failed"]
    ids = [told["webhook-id"] for told, _ in receiver.calls]
    assert len(set(ids)) == 3


@pytest.mark.system  # Takes seconds.
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


@pytest.mark.system
@pytest.mark.weekly("postgresql")
def test_promotions_are_told(settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    server = RunningServer(settings)
    with Client(server.target, actor="ada") as client:
        client.promote(client.register("one", tmp_path / "model.bin"), to="staging", reason="looks good")
        [said] = receiver.messages(1)
    server.stop()
    assert (said["type"], said["data"]["actor"], said["data"]["version"]) == ("transition", "ada", 1)
    assert said["data"]["transition"]["reason"] == "looks good"


@pytest.mark.system
def test_findings_reviews_and_drills_are_told(settings: Settings, receiver: Receiver) -> None:
    server = RunningServer(settings)
    with Client(server.target, actor="ada") as client:
        client.create_model("one")
        client.open_finding("one", title="no costs", severity="low", owner="bob")
        client.record_review("one", outcome="rejected", comment="no costs")
        client.start_drill("one", reason="yearly test")
        found, reviewed, drilled = receiver.messages(3)
    server.stop()
    assert (found["type"], found["data"]["model"], found["data"]["finding"]["title"]) == ("finding", "one", "no costs")
    assert (reviewed["type"], reviewed["data"]["review"]["outcome"]) == ("review", "rejected")
    assert (drilled["type"], drilled["data"]["drill"]["reason"]) == ("drill", "yearly test")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "2002:c0a8:101::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1",
        "64:ff9b:1::808:808", "::127.0.0.1", "::ffff:0:127.0.0.1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "ff02::1",
        "fec0::1", "2001:db8::1", "3fff::1", "100::1", "2600:0:0:1:0:5efe:a00:1", "2600:0:0:1:200:5efe:7f00:1",
        "fd00:ec2::254", "192.0.0.8", "198.18.0.1", "100.100.100.200", "168.63.129.16", "2002:101:101::1",
    ],
)  # fmt: skip
def test_addresses_inside_are_told_from_public_ones(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


async def test_a_private_address_is_not_called(receiver: Receiver) -> None:
    # However the address is spelled: by name, as one number, hexadecimal, octal, short, in IPv6.
    spelled = ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"]
    for url in (receiver.url.replace("127.0.0.1", host) for host in [*spelled, "[::ffff:127.0.0.1]", "[::1]"]):
        with pytest.raises(DeliveryError, match="is not public; MODELWARD_WEBHOOKS_PRIVATE allows private ones"):
            await Sender(allow_private=False).post(url, b"{}", {})
    assert receiver.calls == []


async def test_a_name_with_one_address_inside_is_not_called_and_is_looked_up_once(
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
    with pytest.raises(DeliveryError, match=r"hook.example resolves to 127.0.0.1"):
        await Sender(allow_private=False).post(url, b"{}", {})
    assert looked_up == ["hook.example"]
    await Sender(allow_private=True).post(url, b"{}", {})
    assert [told["host"].partition(":")[0] for told, _ in receiver.calls] == ["hook.example"]
    assert len(looked_up) == 2


@pytest.fixture
def dripping() -> Iterator[str]:
    """The URL of a receiver that takes everything and sends one byte of its answer a moment, without an end."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not over.wait(0.05):
                connection.sendall(b"a")

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while not over.is_set():
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        over.set()


@pytest.mark.system
async def test_one_deadline_holds_for_the_whole_exchange(dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(DeliveryError, match=r"127.0.0.1 does not answer within 0.5 s"):
        await Sender(allow_private=True).post(dripping, b"{}", {})
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    with pytest.raises(DeliveryError, match=r"slow.example does not answer within 0.5 s"):
        await Sender(allow_private=True).post("https://slow.example/", b"{}", {})
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2


@pytest.mark.system  # Takes seconds.
@pytest.mark.weekly("postgresql")
def test_a_receiver_that_drips_holds_up_neither_the_others_nor_the_stop(
    settings: Settings, receiver: Receiver, dripping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 600.0)
    server = RunningServer(settings.model_copy(update={"webhooks": (dripping, receiver.url)}))
    _happen(server.target, "one")
    receiver.messages(3)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < PATIENCE_SECONDS
    # The delivery was left to the next server, which need not wait for a claim to run out.
    receiver.calls.clear()
    second = RunningServer(settings.model_copy(update={"webhooks": (receiver.url, dripping)}))
    _happen(second.target, "two")
    assert _states(receiver.messages(3), "two") == ["pending", "leased", "failed"]
    second.stop()


@asynccontextmanager
async def speaking(answer: bytes) -> AsyncIterator[str]:
    """Give the URL of a receiver that says this, whatever it is told."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(answer)
            writer.close()
            await writer.wait_closed()
        spoken.set()

    spoken = asyncio.Event()
    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await spoken.wait()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"a" * (1 << 20), b"\r\n\r\n"],
    ids=range(6),
)
async def test_an_answer_that_is_none_is_a_failed_delivery(answer: bytes) -> None:
    async with speaking(answer) as url:
        with pytest.raises(DeliveryError, match="does not answer"):
            await Sender(allow_private=True).post(url, b"{}", {})


async def test_informational_answers_are_passed_over() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    async with speaking(answer) as url:
        await Sender(allow_private=True).post(url, b"{}", {})


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/x", "http://.a/", "http://127.0.0.1:99999/x", "http://a:b/", f"http://{'a' * 64}.example/",
        "http://[fe80::1%25eth0]/", "http://[::zz]/",
    ],
)  # fmt: skip
async def test_a_url_that_means_nothing_is_a_failed_delivery(url: str) -> None:
    with pytest.raises(DeliveryError):
        await Sender(allow_private=True).post(url, b"{}", {})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a.example/", "must begin with http"),
        ("http://a..b/x", "a host that DNS does not allow"),
        (f"http://{'a' * 64}.example/", "a host that DNS does not allow"),
        ("http://127.0.0.1:99999/x", "ports range from 1 to 65535"),
        ("http://a.example:0/", "ports range from 1 to 65535"),
        ("http://a.example:secret/", "ports range from 1 to 65535"),
        ("http://[::zz]/", "brackets enclose an IPv6 address"),
        ("http://ada:secret@a.example/", "has a user or a password"),
        ("http://a.example/caf\u00e9", "no spaces, accents"),
    ],
)
def test_urls_that_cannot_be_called_are_refused_without_being_quoted(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"URL 2 of 2: .*") as told:
        Settings(webhooks=("https://good.example/x", url))
    assert said in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("url", ["https://hooks.example./x", "http://[2606:4700::1]:8080/", "http://a_b.example/?t=1"])
def test_odd_urls_that_can_be_called_are_taken(url: str) -> None:
    assert Settings(webhooks=(url,)).webhooks == (url,)


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
    assert (is_delivered(move, noon), is_delivered(policy, noon), is_delivered(policy, None)) == (True, False, False)
    said = json.loads(message_of(move).body)
    assert (said["type"], said["data"]["hash"], said["data"]["actor"]) == ("transition", f"{7:064x}", "ada")
    assert is_delivered(policy, noon - timedelta(days=1))
    assert is_delivered(_record(300, noon, Kind.POLICY), noon)
    head = json.loads(message_of(policy).body)
    assert (head["type"], head["data"]) == ("audit.head", {"sequence": 8, "hash": f"{8:064x}"})
    proved = json.loads(message_of(policy, {"records": 8, "root": "ab"}).body)["data"]
    assert (proved["records"], proved["root"]) == (8, "ab")
