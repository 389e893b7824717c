"""Heartbeats in response streams, so that long work is not mistaken for a server that hangs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")

HEARTBEAT_SECONDS = 15.0
"""Maximum silence of a progress stream; clients may abandon one after a minute."""


async def with_heartbeats(answers: AsyncGenerator[Answer, None], first: Answer) -> AsyncIterator[Answer]:
    """Yield responses as they arrive, and repeat the last one while the next is pending.

    Args:
        first: repeated until there is a response.
    """
    last = first
    pending = asyncio.ensure_future(anext(answers))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_SECONDS)
            if done:
                try:
                    last = pending.result()
                except StopAsyncIteration:
                    return
                pending = asyncio.ensure_future(anext(answers))
            yield last
    finally:
        await _end(pending)
        await answers.aclose()


async def _end(pending: asyncio.Future[Answer]) -> None:
    if not pending.done():
        pending.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await pending
    elif not pending.cancelled():  # Not awaited again, which would add to the traceback of its exception.
        pending.exception()
