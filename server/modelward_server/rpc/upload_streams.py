"""Streams of requests: how many may be open, and how long one may be silent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from modelward.errors import DeadlineExceeded
from modelward_server.runtime.admission import Admission

Part = TypeVar("Part")

MAX_UPLOADS = 512
"""Uploads of files and tables that may be open at once; each holds some hundred kilobytes."""


class Uploads:
    """The uploads of files and tables that are under way.

    Args:
        max_silence: seconds that one may send nothing.
    """

    def __init__(self, max_silence: float) -> None:
        self._max_silence = max_silence
        self._admission = Admission("uploads", "uploads", MAX_UPLOADS)

    @property
    def open(self) -> int:
        """How many are under way."""
        return self._admission.open

    @asynccontextmanager
    async def admit(self, parts: AsyncIterator[Part]) -> AsyncIterator[AsyncIterator[Part]]:
        """Take in an upload and give its parts.

        Raises:
            LimitReached: as many are open as may be.
            DeadlineExceeded: while the parts are read, when none came for too long.
        """
        with self._admission.admit():
            async with aclosing(within_silence(parts, self._max_silence)) as coming:
                yield coming


async def within_silence(parts: AsyncIterator[Part], seconds: float) -> AsyncGenerator[Part, None]:
    """Give the parts of a stream as they come.

    Raises:
        DeadlineExceeded: none came for so many seconds.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            said = f"nothing came for {seconds:g} s; send the rest without such a pause, or begin anew"
            raise DeadlineExceeded(said) from None
        yield part
