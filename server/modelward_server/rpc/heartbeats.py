"""Signs of life in a stream of answers, so that long work does not look like a server that hangs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")

HEARTBEAT_SECONDS = 15.0
"""How long a stream of progress is silent at the most; clients may give up one that is for a minute."""


async def with_heartbeats(answers: AsyncGenerator[Answer, None], first: Answer) -> AsyncIterator[Answer]:
    """Give answers as they come, and the last one again while the next is long in coming.

    Args:
        first: given for as long as there was none.
    """
    last = first
    coming = asyncio.ensure_future(anext(answers))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            if done:
                try:
                    last = coming.result()
                except StopAsyncIteration:
                    return
                coming = asyncio.ensure_future(anext(answers))
            yield last
    finally:
        await _end(coming)
        await answers.aclose()


async def _end(coming: asyncio.Future[Answer]) -> None:
    if not coming.done():
        coming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await coming
    elif not coming.cancelled():  # Never awaited again: that would take the traceback from what it raised.
        coming.exception()
