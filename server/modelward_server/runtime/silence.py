"""A limit on how long a stream may be silent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from modelward.errors import DeadlineExceeded

Part = TypeVar("Part")


async def within_silence(parts: AsyncIterator[Part], seconds: float) -> AsyncGenerator[Part, None]:
    """Yield the parts of a stream as they arrive.

    Raises:
        DeadlineExceeded: none arrived within the given time.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = f"nothing arrived for {seconds:g} s; send the rest without such a pause, or start again"
            raise DeadlineExceeded(message) from None
        yield part
