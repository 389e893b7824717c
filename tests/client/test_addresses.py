"""A client that knows several servers: it takes turns, and goes on at another when one is gone."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from modelward import AsyncClient, Client, EventKind, errors
from modelward.shared.targets import channel_target
from modelward_server.settings import Settings
from tests.security.test_tls import issue
from tests.support.clients import as_async, collect
from tests.support.flaky_proxy import FlakyProxy
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Starts servers.


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two servers of one database."""
    settings = Settings(port=0, data_dir=tmp_path_factory.mktemp("replicas"))
    servers = [RunningServer(settings), RunningServer(settings)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def ways(replicas: list[RunningServer]) -> Iterator[list[FlakyProxy]]:
    """A way to each server, which counts what goes there and can break."""
    networks = [FlakyProxy(server.target) for server in replicas]
    yield networks
    for network in networks:
        network.close()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, ways: list[FlakyProxy]) -> AsyncIterator[AsyncClient]:
    """A client of each kind, which knows both servers."""
    target = ",".join(way.address.replace("127.0.0.1", "localhost") for way in ways)
    if request.param == "sync":
        with Client(target, timeout=PATIENCE_SECONDS) as client:
            yield as_async(client)
    else:
        async with AsyncClient(target, timeout=PATIENCE_SECONDS) as client:
            yield as_async(client)


async def _carried(client: AsyncClient, ways: list[FlakyProxy]) -> list[bool]:
    """Make calls, and return which way each of some took."""
    before = [way.carried for way in ways]
    for _ in range(10):
        await collect(client.list_models())
    return [way.carried > count for way, count in zip(ways, before, strict=True)]


async def test_calls_take_turns_and_go_on_when_a_server_is_gone(client: AsyncClient, ways: list[FlakyProxy]) -> None:
    while not all(await _carried(client, ways)):
        pass  # The second connection may take longer than the first calls.
    ways[0].target = free_address()
    ways[0].break_all()
    begun = time.monotonic()
    await _carried(client, ways)
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2  # A call that waits for a server takes all that it has.
    ways[0].target = ways[1].target
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(await _carried(client, ways)):
            pass


async def test_watch_and_upload_go_on_at_another_server(
    replicas: list[RunningServer], ways: list[FlakyProxy], name: str, tmp_path: Path
) -> None:
    content = random.Random(7).randbytes(8 << 20)
    (tmp_path / "model.bin").write_bytes(content)
    async with AsyncClient(",".join(way.address for way in ways), timeout=PATIENCE_SECONDS) as client:
        events = client.watch([name])
        await client.create_model(name)
        first = await anext(events)
        for way in ways:  # Whichever carries the watch and the upload, it breaks while they are under way.
            way.breaks_at = [way.carried + (3 << 20)]
        version = await client.register(name, tmp_path / "model.bin")
        for way in ways:
            way.break_all()
        await client.promote(version, to="staging")
        seen = [first, await anext(events), await anext(events)]
        assert [event.kind for event in seen][1:] == [EventKind.REGISTERED, EventKind.TRANSITION]
        assert (await client.download(version, tmp_path / "back")).joinpath("model.bin").read_bytes() == content


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_names_are_looked_up_and_certificates_checked_against_the_first() -> None:
    place, options = channel_target("localhost:1, 127.0.0.1:2")
    assert place == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert ("grpc.default_authority", "localhost") in options


def test_addresses_of_both_kinds_go_together() -> None:
    assert channel_target("[::1]:1,127.0.0.1:2")[0] == "ipv6:[::1]:1,[::ffff:127.0.0.1]:2"


def test_name_that_nobody_knows_is_left_out_and_alone_is_nobody() -> None:
    assert channel_target("nowhere.invalid:1,127.0.0.1:2")[0] == "ipv4:127.0.0.1:2"
    with Client("nowhere.invalid:1,nowhere.invalid:2", timeout=0.2) as client, pytest.raises(errors.ModelwardError):
        client.get_model("spx")


@pytest.mark.parametrize("target", ["models-1,models-2:50061", "models-1:50061,", "models-1:50061,models-2:99999", ","])
def test_address_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(errors.InvalidField, match="host:port"):
        Client(target)


def test_certificate_of_every_server_must_carry_the_first_name(tmp_path: Path) -> None:
    cert, _ = issue(tmp_path)
    settings = Settings(
        port=0, data_dir=tmp_path, tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem")
    )
    running = RunningServer(settings)
    port = running.target.rpartition(":")[2]
    credentials = grpc.ssl_channel_credentials(cert)
    with Client(f"localhost:{port},{free_address()}", credentials=credentials) as client:
        assert list(client.list_models()) == []
    wrong = Client(f"127.0.0.1:{port},{free_address()}", credentials=credentials, timeout=1)
    with wrong as client, pytest.raises(errors.Unavailable):
        list(client.list_models())
    running.stop()
