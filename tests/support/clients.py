"""The sync client with the face of the async one, so that a test is written once and tries both."""

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any, TypeVar, cast

from modelward import AsyncClient, AsyncPager, Client, Pager

Item = TypeVar("Item")


def as_async(client: Client | AsyncClient) -> AsyncClient:
    """Return a client whose methods are those of `AsyncClient`; calls of a sync client are made in threads."""
    return client if isinstance(client, AsyncClient) else cast(AsyncClient, _InThreads(client))


def as_it_is(client: AsyncClient) -> Client | AsyncClient:
    """Return the client that `as_async` was given."""
    return client._client if isinstance(client, _InThreads) else client


class _InThreads:
    """Makes a coroutine or an asynchronous iterator of each method that is one of `AsyncClient`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method
        if inspect.iscoroutinefunction(getattr(AsyncClient, name)):
            return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)
        return lambda *args, **kwargs: _iterated(method(*args, **kwargs))


def _iterated(result: Any) -> Any:
    if isinstance(result, Pager):
        return AsyncPager(lambda token, size: _in_threads(result._pages(token, size)))
    return _in_threads(result) if isinstance(result, Iterator) else result


async def _in_threads(items: Iterator[Any]) -> AsyncIterator[Any]:
    while (item := await asyncio.to_thread(next, items, _END)) is not _END:
        yield item


_END = object()


async def collect(items: AsyncIterable[Item]) -> list[Item]:
    """Return what there is in all."""
    return [item async for item in items]
