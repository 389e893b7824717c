"""A stream of progress says where it stands again and again, so that its client can tell work from a hang."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from modelward_server.rpc.heartbeats import with_heartbeats

SECONDS = 0.02


class Work:
    """Steps that come when they are let go."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.ended = False

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            while (step := await self.steps.get()) is not None:
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            await asyncio.sleep(0)  # As what ends a model's process takes a moment.
            self.ended = True


async def test_last_step_is_repeated_while_the_next_one_takes_long() -> None:
    work = Work()
    beats = with_heartbeats(work.run(), 0, SECONDS)
    assert [await anext(beats) for _ in range(3)] == [0, 0, 0]
    work.steps.put_nowait(1)
    while await anext(beats) == 0:
        pass
    assert [await anext(beats) for _ in range(2)] == [1, 1]
    for step in (2, 3, None):
        work.steps.put_nowait(step)
    assert [step async for step in beats if step > 1] == [2, 3]
    assert work.ended


async def test_failure_of_the_work_is_that_of_the_stream() -> None:
    work = Work()
    work.steps.put_nowait(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await anext(with_heartbeats(work.run(), 0))
    assert work.ended


async def test_work_ends_with_the_client_who_leaves() -> None:
    work = Work()
    beats = with_heartbeats(work.run(), 0)
    waiting = asyncio.ensure_future(anext(beats))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await beats.aclose()
    assert work.ended
