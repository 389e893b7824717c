"""What calls leave behind is written after their answers, in batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from modelward.errors import Aborted, LimitReached, Unavailable
from modelward_server.runtime.background import progressed, stalled

BATCH_SECONDS = 0.5
"""How long items are collected for one batch."""
RETRY_SECONDS = 1.0
"""Pause before a batch is tried again while the ledger cannot be reached."""

Item = TypeVar("Item")
log = logging.getLogger(__name__)


class BackgroundWriter(Generic[Item]):
    """Writes items in the order in which they are added.

    While the ledger cannot be reached they wait. Those that find the queue full, that are refused, or that still wait
    when the server stops are lost: they are counted, and the first loss is logged.

    Args:
        kind: what the items are, for the log and the metric.
        write: writes a batch; it may be called again with items that it has written.
        max_batch: the sum of the sizes of the items of one batch, few enough that no other writer waits long.
        max_size: the sum of the sizes of the items that may wait.
    """

    def __init__(
        self, kind: str, write: Callable[[Sequence[Item]], Awaitable[None]], max_batch: int, max_size: int
    ) -> None:
        self.kind = kind
        self.lost = 0
        """The number of items that were lost since the server started."""
        self._write = write
        self._max_batch, self._max_size = max_batch, max_size
        self._size = 0
        self._waiting = deque[tuple[Item, int]]()
        self._arrived = asyncio.Event()
        self._finishing = False

    def add(self, item: Item, size: int = 1) -> None:
        """Let an item be written soon; it is lost if too many wait."""
        if self._size + size > self._max_size:
            self.lose(1, "too many wait to be written")
            return
        self._size += size
        self._waiting.append((item, size))
        self._arrived.set()

    def finish(self) -> None:
        """Let `run` write what waits, and then return."""
        self._finishing = True
        self._arrived.set()

    async def run(self) -> None:
        """Write what is added, until cancelled or asked to finish."""
        try:
            while self._waiting or not self._finishing:
                await self._arrived.wait()
                if not self._finishing:
                    await asyncio.sleep(BATCH_SECONDS)
                    self._arrived.clear()
                await self._write_waiting()
        except asyncio.CancelledError:
            self.lose(len(self._waiting), "the server stopped")
            raise

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = list(self._next_batch())
            await self._attempt(batch)
            for _ in batch:
                self._size -= self._waiting.popleft()[1]

    def _next_batch(self) -> Iterator[Item]:
        total = 0
        for item, size in self._waiting:
            total += size
            if total > size and total > self._max_batch:  # The first item is always part of it.
                return
            yield item

    async def _attempt(self, batch: Sequence[Item]) -> None:
        """Write a batch, again while the ledger cannot be reached; if it is refused, each item by itself."""
        try:
            await self._write_in_time(batch)
        except Exception as error:
            if len(batch) == 1:
                self.lose(1, f"{type(error).__name__}: {error}")
                return
            for item in batch:
                await self._attempt([item])

    async def _write_in_time(self, batch: Sequence[Item]) -> None:
        while True:
            try:
                await self._write(batch)
            except (Aborted, LimitReached, Unavailable) as error:
                if isinstance(error, LimitReached) and error.retry_seconds is None:
                    raise
                await stalled(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await progressed()
                return

    def lose(self, items: int, why: str) -> None:
        """Count items that are not written, and log the first time why."""
        if items and not self.lost:
            log.error("%s of scoring are lost, which from now on only the metrics count: %s", self.kind, why)
        self.lost += items
