"""A monitor: changes of shared state one at a time, and waiting for a condition of it."""

import asyncio
import math
import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


class Monitor:
    """A monitor for threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def change(self, change: Callable[[], Value]) -> Value:
        """Make a change, and wake whoever waits."""
        with self._condition:
            self._condition.notify_all()
            return change()

    def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, and return whether it does after at most `seconds`."""
        with self._condition:
            return self._condition.wait_for(holds, seconds if seconds < math.inf else None)


class AsyncMonitor:
    """A monitor for the tasks of an event loop."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()

    async def change(self, change: Callable[[], Value]) -> Value:
        """Make a change, and wake whoever waits."""
        async with self._condition:
            self._condition.notify_all()
            return change()

    async def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, and return whether it does after at most `seconds`."""
        try:
            async with asyncio.timeout(seconds if seconds < math.inf else None), self._condition:
                await self._condition.wait_for(holds)
        except TimeoutError:
            return False
        return True
