"""A stream of progress is never silent for long, and ends with a status."""

import asyncio
import threading
from typing import Any

import pytest

from modelward import AsyncClient, errors
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.common_pb2 import Dataset, ModelVersionRef
from modelward_server.comparison.service import ComparisonService
from modelward_server.rpc import heartbeats
from tests.support.running_server import RunningServer


async def test_a_comparison_that_takes_long_says_that_it_goes_on(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_SECONDS", 0.02)

    async def slow(*_: object) -> Any:
        await asyncio.to_thread(was_told.wait, 20)
        raise errors.ModelFailed("it did not load")

    monkeypatch.setattr(ComparisonService, "begin", slow)
    was_told = threading.Event()
    told: list[tuple[float, str]] = []
    refs = [ModelVersionRef(model="m", version=number) for number in (1, 2)]
    async with AsyncClient(server.target) as client:
        request = pb.CompareModelsRequest(versions=refs, data=Dataset(blob="0" * 64))

        async def listen() -> None:
            async for answer in client._receive(client._comparison.CompareModels, request, 60):
                was_told.set()
                told.append((answer.progress.fraction, answer.progress.message))

        with pytest.raises(errors.ModelFailed):
            await listen()
    assert set(told) == {(0.0, "began")}


async def test_heartbeats_give_what_comes_and_end_what_works_when_nobody_listens() -> None:
    ended = []

    async def work() -> Any:
        try:
            yield 1
            yield 2
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    answers = heartbeats.with_heartbeats(work(), 0)
    assert [await anext(answers), await anext(answers)] == [1, 2]
    waiting = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [True]


async def test_an_error_keeps_the_traceback_that_the_log_shows() -> None:
    async def work() -> Any:
        yield 1
        raise ZeroDivisionError

    answers = heartbeats.with_heartbeats(work(), 0)
    assert await anext(answers) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        await anext(answers)
    assert "work" in [frame.name for frame in caught.traceback]
