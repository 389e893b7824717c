"""Servers that score: one that another server changes production for, and one that is restarted under load."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, Scores, errors
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30.0)[::-1]})
SLOPES = {1: 1.0, 2: 2.0}
"""What each version predicts for `x`, times it."""


async def two_versions(client: AsyncClient, name: str) -> None:
    """Register two versions, the first one in production and the other one ready to follow it."""
    for slope in SLOPES.values():
        await client.register(name, LinearRegression().fit(ROWS, slope * ROWS.x), reference=ROWS)
    await promote(client, f"{name}/1")


async def promote(client: AsyncClient, version: str) -> None:
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")


def check(found: Scores) -> None:
    """Check that an answer is that of the version which it names."""
    np.testing.assert_allclose(found.predictions, SLOPES[found.version.version] * ROWS.x, atol=1e-9)


@pytest.fixture
def servers(tmp_path: Path, database_url: str) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers of one database; only the first one scores."""
    shared = {"port": 0, "data_dir": tmp_path / "data", "database_url": database_url}
    both = tuple(RunningServer(Settings.model_validate({**shared, "scoring_processes": more})) for more in (4, 0))
    yield both[0], both[1]
    for one in both:
        one.stop()


async def test_a_change_by_another_server_holds_from_the_next_call_on(
    servers: tuple[RunningServer, RunningServer], name: str
) -> None:
    scoring, other = servers
    async with AsyncClient(scoring.target) as scorer, AsyncClient(other.target, timeout=PATIENCE_SECONDS) as operator:
        await two_versions(operator, name)
        check(await scorer.score(name, ROWS, timeout=PATIENCE_SECONDS))
        for _ in range(3):
            await promote(operator, f"{name}/2")
            check(found := await scorer.score(name, ROWS, timeout=PATIENCE_SECONDS))
            assert found.version.version == 2
            await operator.rollback(name, reason="measured")
            check(found := await scorer.score(name, ROWS, timeout=PATIENCE_SECONDS))
            assert found.version.version == 1
        await operator.halt(name, reason="it loses money")
        with pytest.raises(errors.ModelHalted, match="it loses money"):
            await scorer.score(name, ROWS)


async def test_calls_that_a_restart_interrupts_are_answered_afterwards(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = "--scoring-processes", "4", "--port", str(port)
    server = await asyncio.to_thread(ServerProcess, tmp_path / "data", tmp_path / "first.log", *given)
    answered, done = asyncio.Queue[Scores](), asyncio.Event()

    async def ask(client: AsyncClient) -> None:
        while not done.is_set():
            answered.put_nowait(await client.score(name, ROWS, timeout=PATIENCE_SECONDS))

    async def check_next(number: int) -> None:
        for _ in range(number):
            check(await asyncio.wait_for(answered.get(), PATIENCE_SECONDS))

    async with AsyncClient(f"127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
        await two_versions(client, name)
        calls = asyncio.gather(*(ask(client) for _ in range(4)))
        try:
            await check_next(20)
            assert await asyncio.to_thread(server.stop) == 0
            server = await asyncio.to_thread(ServerProcess, tmp_path / "data", tmp_path / "second.log", *given)
            await check_next(answered.qsize() + 20)
            done.set()
            await calls
        finally:
            done.set()
            await asyncio.to_thread(server.stop)
