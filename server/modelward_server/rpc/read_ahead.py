"""Reads a stream ahead of whoever takes its messages, so that those that have arrived are taken together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from google.protobuf.message import Message

Part = TypeVar("Part", bound=Message)

MAX_PARTS = 256
MAX_BYTES = 4 << 20
"""Messages are read ahead up to this number of parts and size in total; a larger one is taken alone."""


class ReadAhead(Generic[Part]):
    """Groups the messages of a stream: each group has those that arrived while the one before was processed.

    Args:
        messages: the stream.
        number_of_parts: how many parts a message has.
    """

    def __init__(self, messages: AsyncIterator[Part], number_of_parts: Callable[[Part], int] = lambda _: 1) -> None:
        self._messages, self._number_of_parts = messages, number_of_parts
        self._arrived: list[Part] = []
        self._parts, self._bytes = 0, 0
        self._is_over = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def groups(self) -> AsyncIterator[list[Part]]:
        """Yield the messages, in order, and at the end raise what ended the stream, if anything did."""
        while self._arrived or not self._is_over:
            await self._news.wait()
            self._news.clear()
            group, self._arrived, self._parts, self._bytes = self._arrived, [], 0, 0
            self._room.set()
            if group:
                yield group
        await self._reading

    async def _read(self) -> None:
        try:
            async for message in self._messages:
                parts, size = self._number_of_parts(message), message.ByteSize()
                while self._arrived and (self._parts + parts > MAX_PARTS or self._bytes + size > MAX_BYTES):
                    self._room.clear()
                    await self._room.wait()
                self._arrived.append(message)
                self._parts, self._bytes = self._parts + parts, self._bytes + size
                self._news.set()
        finally:
            self._is_over = True
            self._news.set()
