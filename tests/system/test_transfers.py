"""The SDK's uploads and downloads over a network that breaks, and over restarts of the server."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from modelward import AsyncClient, Client, ModelVersion, errors
from tests.support.clients import as_async
from tests.support.flaky_proxy import FlakyProxy
from tests.support.forked_server import ForkedServer
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.conftest import Serve

MIB = 1 << 20
SIZE = 32 * MIB
OVERHEAD = 10 * MIB
"""What may be sent twice for one break: bytes that were on their way."""


@pytest.fixture(scope="session")
def database_url() -> str:
    """Transfers do not touch the database: one is enough here."""
    return ""


@pytest.fixture
def network(server: RunningServer) -> Iterator[FlakyProxy]:
    network = FlakyProxy(server.target)
    yield network
    network.close()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, network: FlakyProxy) -> AsyncIterator[AsyncClient]:
    """A client of each kind, behind the network."""
    if request.param == "async":
        async with AsyncClient(network.address) as client:
            yield as_async(client)
    else:
        with Client(network.address) as client:
            yield as_async(client)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of files that no other test has: a large one, a small one, an empty one."""
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(np.random.default_rng(uuid4().int).bytes(SIZE))
    (folder / "data" / "vocab.txt").write_text(uuid4().hex)
    (folder / "empty").touch()
    return folder


def same(folder: Path, other: Path) -> bool:
    """Tell whether two folders have the same files."""
    listed = [sorted(path.relative_to(root) for path in root.rglob("*")) for root in (folder, other)]
    return listed[0] == listed[1] and all(
        (folder / path).read_bytes() == (other / path).read_bytes() for path in listed[0] if (folder / path).is_file()
    )


async def test_upload_that_breaks_twice_sends_each_byte_about_once(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    network.breaks_at = [SIZE // 3, SIZE * 3 // 4]
    version = await client.register(name, model)
    assert network.breaks_at == []
    assert SIZE < network.carried < SIZE + 2 * OVERHEAD
    assert same(await client.download(version, model.parent / "copy"), model)


async def test_uploading_the_same_again_sends_nothing(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    await client.register(name, model)
    before = network.carried
    assert (await client.register(name, model)).version == 2
    assert network.carried - before < 100_000


async def test_file_that_occurs_twice_is_sent_once(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    (model / "weights-copy.bin").write_bytes((model / "weights.bin").read_bytes())
    await client.register(name, model)
    assert network.carried < SIZE + OVERHEAD


async def test_download_that_breaks_twice_fetches_each_byte_about_once(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    version = await client.register(name, model)
    before = network.carried
    network.breaks_at = [before + SIZE // 3, before + SIZE * 3 // 4]
    assert same(await client.download(version, model.parent / "copy"), model)
    assert network.breaks_at == []
    assert SIZE < network.carried - before < SIZE + 2 * OVERHEAD


async def test_download_again_fetches_only_what_is_lacking(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    version = await client.register(name, model)
    copy = await client.download(version, model.parent / "copy")
    (copy / "data" / "vocab.txt").write_text("changed")
    (copy / "empty").unlink()
    before = network.carried
    assert same(await client.download(version, copy), model)
    assert network.carried - before < 100_000


async def test_part_of_an_earlier_process_is_continued(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    version = await client.register(name, model)
    copy = model.parent / "copy"
    copy.mkdir()
    (copy / "weights.bin.part").write_bytes((model / "weights.bin").read_bytes()[: SIZE - MIB])
    before = network.carried
    assert same(await client.download(version, copy), model)
    assert network.carried - before < MIB + OVERHEAD


@pytest.mark.parametrize("size", [MIB, SIZE, SIZE + MIB])
async def test_part_of_something_else_is_begun_anew(client: AsyncClient, name: str, model: Path, size: int) -> None:
    version = await client.register(name, model)
    copy = model.parent / "copy"
    copy.mkdir()
    (copy / "weights.bin.part").write_bytes(bytes(size))
    assert same(await client.download(version, copy), model)


async def test_download_while_the_network_is_down_gives_up_in_time(
    network: FlakyProxy, name: str, model: Path, server: RunningServer
) -> None:
    async with AsyncClient(server.target) as direct, AsyncClient(network.address, timeout=2) as client:
        version = await direct.register(name, model)
        network.breaks_at = [SIZE // 3]
        network.target = "127.0.0.1:1"
        begun = time.monotonic()
        with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
            await client.download(version, model.parent / "copy")
        assert time.monotonic() - begun < 60


async def test_links_in_the_folder_lead_nothing_out_of_it(client: AsyncClient, name: str, model: Path) -> None:
    version = await client.register(name, model)
    copy, outside = model.parent / "copy", model.parent / "outside"
    copy.mkdir()
    outside.mkdir()
    (copy / "data").symlink_to(outside)
    with pytest.raises(errors.InvalidField, match=r"leads 'data/vocab.txt' out of it; remove the link"):
        await client.download(version, copy)
    (copy / "data").unlink()
    for link in ("weights.bin", "weights.bin.part"):
        (outside / link).write_text("untouched")
        (copy / link).symlink_to(outside / link)
    assert same(await client.download(version, copy), model)
    assert {path.read_text() for path in outside.iterdir()} == {"untouched"}
    assert not (copy / "weights.bin").is_symlink()


@pytest.mark.parametrize("rotted", [bytes(SIZE // 2), bytes(SIZE)], ids=["short", "changed"])
async def test_blob_that_rotted_on_the_server_is_not_taken_for_the_model(
    client: AsyncClient, server: RunningServer, name: str, model: Path, rotted: bytes
) -> None:
    version = await client.register(name, model)
    [weights] = [file for file in version.files if file.path == "weights.bin"]
    blob = server.settings.data_dir / "blobs" / weights.sha256[:2] / weights.sha256
    blob.write_bytes(rotted)
    with pytest.raises(errors.DigestMismatch, match=weights.sha256):
        await client.download(version, model.parent / "copy")
    assert not (model.parent / "copy" / "weights.bin").exists()
    assert not (model.parent / "copy" / "weights.bin.part").exists()
    await client.register(name, model)
    assert same(await client.download(version, model.parent / "copy"), model)


async def test_two_clients_that_upload_the_same_at_once_both_succeed(
    client: AsyncClient, network: FlakyProxy, name: str, model: Path
) -> None:
    first, second = await asyncio.gather(client.register(name, model), client.register(name, model))
    assert {first.version, second.version} == {1, 2}
    assert first.digest == second.digest


async def test_two_downloads_into_one_folder_at_once_both_succeed(client: AsyncClient, name: str, model: Path) -> None:
    version = await client.register(name, model)
    copy = model.parent / "copy"
    await asyncio.gather(*(client.download(version, copy) for _ in range(3)))
    assert same(copy, model)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.weekly
def test_upload_outlives_the_death_of_the_server(serve: Serve, tmp_path: Path, model: Path, kind: str) -> None:
    served = serve()
    network = FlakyProxy(served.target)
    network.pause = 0.002  # So that the upload takes a second, of which none misses the middle.
    registered: list[ModelVersion] = []
    uploading = threading.Thread(target=lambda: registered.append(_register(kind, network.address, model)))
    uploading.start()
    while _held(served) < SIZE // 2:
        time.sleep(0.001)
    served.kill()
    held = _held(served)
    network.target = serve().target
    uploading.join()
    assert network.carried < SIZE + held  # From the beginning it would be more: also what was on its way is lost.
    with Client(network.address) as client:
        assert same(client.download(registered[0], tmp_path / "copy"), model)
    network.close()


def _held(served: ForkedServer) -> int:
    """Return how much a server has on its disk of an upload."""
    return sum(part.stat().st_size for part in (served.data_dir / "blobs" / "incoming").glob("*.part"))


def _register(kind: str, target: str, model: Path) -> ModelVersion:
    async def registered() -> ModelVersion:
        async with AsyncClient(target) as client:
            return await client.register("spx", model, timeout=PATIENCE_SECONDS)

    if kind == "async":
        return asyncio.run(registered())
    with Client(target) as client:
        return client.register("spx", model, timeout=PATIENCE_SECONDS)
