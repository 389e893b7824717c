"""Merging of asynchronous iterations."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

Item = TypeVar("Item")


async def merged(*sources: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """Yield the items of all sources as they come; each source is only asked for its next item when one was taken.

    It ends, or raises, when one of them does, and then closes the others.
    """
    waiting = {_next_of(source): source for source in sources}
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    item = task.result()
                except StopAsyncIteration:
                    return
                yield item
                source = waiting.pop(task)
                waiting[_next_of(source)] = source
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for source in sources:
            await source.aclose()


def _next_of(source: AsyncGenerator[Item, None]) -> "asyncio.Task[Item]":
    return asyncio.ensure_future(_next(source))


async def _next(source: AsyncGenerator[Item, None]) -> Item:
    return await anext(source)
