"""Threads are bounded and separate by kind: what is urgent never waits for what is not."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelward import AsyncClient
from modelward.errors import LimitReached
from modelward_server.runtime.admission import RETRY_SECONDS
from modelward_server.runtime.executors import BoundedExecutor
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually


@contextmanager
def held(executor: BoundedExecutor, pieces: int) -> Iterator[None]:
    """Keep an executor at work on so many pieces until the end."""
    release = threading.Event()
    for _ in range(pieces):
        executor.submit(release.wait, PATIENCE_SECONDS)
    try:
        yield
    finally:
        release.set()
        eventually(lambda: not executor.outstanding)


async def test_run_when_too_much_waits_tells_to_come_again() -> None:
    executor = BoundedExecutor("test", threads=1, max_waiting=2)
    with held(executor, 3):
        with pytest.raises(LimitReached, match="test threads") as caught:
            await executor.run(int)
        assert caught.value.retry_seconds == RETRY_SECONDS
        assert caught.value.metadata == {"limit": "test_threads"}
    assert await executor.run(int) == 0


async def test_run_that_is_cancelled_before_it_begins_does_nothing_and_holds_nothing() -> None:
    executor = BoundedExecutor("test", threads=1, max_waiting=2)
    ran: list[int] = []
    with held(executor, 1):
        waiting = asyncio.create_task(executor.run(ran.append, 1))
        await asyncio.sleep(0)
        for _ in range(2):  # As gRPC does when a client leaves.
            waiting.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert executor.outstanding == 2
    assert ran == []


async def test_places_of_cancelled_work_are_taken_until_its_turn_comes() -> None:
    executor = BoundedExecutor("test", threads=1, max_waiting=5)
    with held(executor, 1):
        for _ in range(5):
            waiting = asyncio.create_task(executor.run(int))
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(LimitReached):
            await executor.run(int)


async def test_run_keeps_the_context_of_the_caller() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    who.set("ada")
    assert await BoundedExecutor("test", 1, 1).run(who.get) == "ada"


async def test_close_does_not_wait_for_what_hangs() -> None:
    executor = BoundedExecutor("test", threads=1, max_waiting=2)
    with held(executor, 2):
        assert not await executor.close(0.05)
    assert await executor.close(PATIENCE_SECONDS)


@pytest.mark.system
async def test_what_is_urgent_is_answered_while_everything_else_is_at_its_bound(
    client: AsyncClient, server: RunningServer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("a model")
    for _ in range(2):
        version = await client.register(name, tmp_path / "model.txt")
        await client.promote(version, to="staging")
        await client.promote(version, to="production", reason="it passed its tests")
    await client.set_reference(version, {"x": np.arange(100.0)})
    executors = server.app.executors
    with ExitStack() as stack:
        for executor in (executors.reads, executors.writes, executors.compute, executors.files, executors.remote):
            stack.enter_context(held(executor, executor.max_outstanding - executor.outstanding))
        assert (await client.resolve(name)).version.version == 2
        assert (await client.halt(name, reason="too much")).halt is not None
        assert (await client.resume(name, reason="enough")).halt is None
        assert (await client.rollback(name, reason="worse")).version.version == 1
        assert await health(server.target) == health_pb2.HealthCheckResponse.SERVING
        async with AsyncClient(server.target, timeout=0.5) as hasty:
            for refused in (
                hasty.get_reference(version),
                anext(aiter(hasty.list_performance(version))),
                hasty.promote("no-such-model/1", to="staging"),
            ):
                with pytest.raises(LimitReached):
                    await refused


async def health(target: str) -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    return int(answer.status)


@pytest.mark.system
async def test_client_that_is_told_to_come_again_does_so(client: AsyncClient, server: RunningServer, name: str) -> None:
    await client.create_model(name)
    reads = server.app.executors.reads
    with held(reads, reads.max_outstanding - reads.outstanding):
        asking = asyncio.create_task(client.get_model(name))
        await asyncio.sleep(0.3)
        assert not asking.done()
    assert (await asking).name == name
