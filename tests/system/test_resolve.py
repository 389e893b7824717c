"""What one server acknowledged, every server answers: on SQLite, and by two servers on one PostgreSQL."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelward import AsyncClient, Client, Stage
from modelward.errors import ModelHalted
from tests.support.forked_server import ForkedServer
from tests.support.postgres import new_database
from tests.support.waiting import PATIENCE_SECONDS

VERSIONS = 8


@pytest.fixture(params=["sqlite", "two servers on postgresql"])
def targets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The server to write to, and the one to read from."""
    flags: list[str] = []
    if request.param != "sqlite":
        flags = ["--database-url", new_database(request.getfixturevalue("postgres"))]
    with ExitStack() as stack:
        servers = [ForkedServer(tmp_path / "data", tmp_path / f"log{i}", *flags) for i in range(2 if flags else 1)]
        for server in servers:
            stack.callback(server.stop)
        yield servers[0].target, servers[-1].target


@pytest.fixture
def writer(targets: tuple[str, str], tmp_path: Path) -> Iterator[Client]:
    """A client of the one server, which has versions in staging."""
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(targets[0], timeout=PATIENCE_SECONDS) as client:
        for _ in range(VERSIONS):
            client.promote(client.register("spx", tmp_path / "model.bin"), to="staging")
        client.promote("spx/1", to="production", reason="it passed its tests")
        yield client


@pytest.mark.weekly("sqlite")
def test_every_change_shows_at_once(writer: Client, targets: tuple[str, str]) -> None:
    with Client(targets[1]) as reader:
        for number in range(2, VERSIONS + 1):
            writer.promote(f"spx/{number}", to="production", reason="it passed its tests")
            assert [reader.resolve("spx").version.version for _ in range(2)] == [number, number]
        writer.update_version(f"spx/{VERSIONS}", description="new words")
        assert reader.resolve("spx").version.description == "new words"
        assert reader.resolve("spx", version=1).version.stage is Stage.ARCHIVED
        writer.halt("spx", reason="stop")
        with pytest.raises(ModelHalted):
            reader.resolve("spx")
        writer.resume("spx")
        assert reader.resolve("spx").version.version == VERSIONS


@pytest.mark.weekly("sqlite")
async def test_who_asks_during_promotions_is_never_told_less_than_was_acknowledged(
    writer: Client, targets: tuple[str, str]
) -> None:
    acknowledged = [1]

    def promote_all() -> None:
        for number in range(2, VERSIONS + 1):
            acknowledged.append(
                writer.promote(f"spx/{number}", to="production", reason="it passed its tests").version.version
            )

    thread = threading.Thread(target=promote_all)
    thread.start()
    async with AsyncClient(targets[1]) as reader:
        while thread.is_alive():
            known = acknowledged[-1]
            answers = await asyncio.gather(*(reader.resolve("spx") for _ in range(8)))
            assert all(answer.version.version >= known for answer in answers)
    thread.join()
    assert acknowledged[-1] == VERSIONS


@pytest.mark.weekly("postgresql")
def test_what_mlflow_calls_a_version_shows_too(writer: Client, targets: tuple[str, str]) -> None:
    with Client(targets[1]) as reader:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (kept := reader.resolve("spx").version).run_id and time.monotonic() < deadline:
            time.sleep(0.2)
        assert kept.run_id == reader.get_version("spx/1").run_id != ""
