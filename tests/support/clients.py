"""Both clients behind one face."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from modelward import AsyncClient, Client


class Either:
    """One client behind one face: what it returns is awaited, and what it iterates over is collected.

    So a test is written once and runs against the sync and the async client.
    """

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self.client, AsyncClient):
                return await _settled(method(*args, **kwargs))
            return await asyncio.to_thread(lambda: _collected(method(*args, **kwargs)))

        return call


async def _settled(result: Any) -> Any:
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return await result


def _collected(result: Any) -> Any:
    return list(result) if inspect.isgenerator(result) else result
