"""Bounded thread pools for work that would block the event loop, one for each kind of work.

Work of one kind never waits for a thread that work of another kind occupies: a resolve or a halt does not queue behind
statistics, and nothing that waits for a client occupies a thread.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from modelward.errors import LimitReached
from modelward_server.runtime.admission import RETRY_SECONDS

Value = TypeVar("Value")

MAX_WAITING_QUERIES = 1_000
"""Maximum number of queries waiting for a thread: some seconds of work, since each takes milliseconds."""
MAX_WAITING_JOBS = 128
"""Maximum number of computations or remote requests waiting for a thread: each takes up to some seconds."""
READ_THREADS, WRITE_THREADS, URGENT_THREADS, BACKGROUND_THREADS = 10, 2, 4, 4
FILE_THREADS, REMOTE_THREADS, EVIDENCE_THREADS, OTHER_THREADS = 8, 8, 4, 8
COMPUTE_THREADS = max(8, 2 * (os.cpu_count() or 1))
"""More than the cores, so that one long computation does not delay short ones."""


class _Job:
    """A piece of work that can be cancelled until it begins."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work: Callable[[], Any] | None = work

    def __call__(self) -> Any:
        work, self._work = self._work, None
        return work() if work else None

    def give_up(self) -> None:
        """Release the work and everything it references, if it has not begun."""
        self._work = None


def _without_stop_iteration(work: Callable[..., Value], *args: Any, **kwargs: Any) -> Value:
    try:
        return work(*args, **kwargs)
    except StopIteration as error:  # A future cannot hold one: whoever awaits it would wait without end.
        raise RuntimeError("StopIteration left the work of a thread") from error


class BoundedExecutor(ThreadPoolExecutor):
    """A thread pool that refuses work when its queue is full.

    Args:
        name: names its threads, and the limit in the error.
        threads: maximum number of threads.
        max_waiting: maximum number of pieces of work that wait for a thread.
    """

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        super().__init__(threads, f"modelward-{name}")
        self.name = name
        self.threads = threads
        self.max_outstanding = threads + max_waiting
        self._outstanding: set[Future[Any]] = set()

    @property
    def outstanding(self) -> int:
        """Number of pieces of work that run or wait."""
        return len(self._outstanding)

    def submit(self, fn: Callable[..., Value], /, *args: Any, **kwargs: Any) -> Future[Value]:
        """Run a function in a thread.

        Raises:
            LimitReached: the queue is full.
        """
        if len(self._outstanding) >= self.max_outstanding:
            message = f"{self.max_outstanding} pieces of work wait for the server's {self.name} threads; retry later"
            raise LimitReached(message, retry_seconds=RETRY_SECONDS, limit=f"{self.name}_threads")
        future = super().submit(_without_stop_iteration, fn, *args, **kwargs)
        self._outstanding.add(future)
        future.add_done_callback(self._outstanding.discard)
        return future

    async def run(self, work: Callable[..., Value], *args: Any) -> Value:
        """Run a function in a thread, in the caller's context, and return what it returns.

        When the caller is cancelled, work that has not begun is dropped; work that has begun runs to its end.

        Raises:
            LimitReached: the queue is full. Exceptions of the function propagate.
        """
        job = _Job(partial(copy_context().run, work, *args))
        future = asyncio.wrap_future(self.submit(job))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # It may have no awaiter left.
        try:
            # Shielded: a cancelled future would no longer be counted while its work is still in the queue.
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            job.give_up()
            raise

    def submit_always(self, work: Callable[[], None]) -> None:
        """Run a function that releases resources, however long the queue, unless the server has stopped."""
        with suppress(RuntimeError):
            super().submit(work)

    async def close(self, seconds: float) -> bool:
        """Cancel the work that waits, and wait for the work that runs.

        Args:
            seconds: maximum time to wait.

        Returns:
            Whether all of it has ended.
        """
        self.shutdown(wait=False, cancel_futures=True)
        running = {asyncio.ensure_future(asyncio.wrap_future(future)) for future in list(self._outstanding)}
        if not running:
            return True
        _, left = await asyncio.wait(running, timeout=max(0.0, seconds))
        return not left


class Executors:
    """The server's thread pools."""

    def __init__(self) -> None:
        self.urgent = BoundedExecutor("urgent", URGENT_THREADS, MAX_WAITING_QUERIES)
        """Identities of clients, resolves, and the calls that halt or roll back a model."""
        self.reads = BoundedExecutor("read", READ_THREADS, MAX_WAITING_QUERIES)
        self.writes = BoundedExecutor("write", WRITE_THREADS, MAX_WAITING_QUERIES)
        """Changes, of which those that wait at the same time are committed together."""
        self.compute = BoundedExecutor("compute", COMPUTE_THREADS, MAX_WAITING_JOBS)
        """Statistics, rendering, and decoding of received tables."""
        self.files = BoundedExecutor("file", FILE_THREADS, MAX_WAITING_QUERIES)
        """Chunks of files that are uploaded and downloaded."""
        self.remote = BoundedExecutor("remote", REMOTE_THREADS, MAX_WAITING_JOBS)
        """Requests to other machines: object stores, MLflow, a cluster."""
        self.evidence = BoundedExecutor("evidence", EVIDENCE_THREADS, MAX_WAITING_JOBS)
        """Evidence packs and signatures, which wait for a time-stamp authority or a token with a key."""
        self.background = BoundedExecutor("background", BACKGROUND_THREADS, MAX_WAITING_QUERIES)
        """The server's own queries and changes."""
        self.other = BoundedExecutor("other", OTHER_THREADS, MAX_WAITING_QUERIES)
        """The event loop's default executor: comparisons, the files of models' processes, and what libraries submit."""

    @property
    def all(self) -> tuple[BoundedExecutor, ...]:
        local = self.urgent, self.reads, self.writes, self.compute, self.files
        return *local, self.remote, self.evidence, self.background, self.other

    @property
    def ledger_threads(self) -> int:
        """Number of threads that may query the ledger at once; each needs a connection."""
        querying = self.urgent, self.reads, self.writes, self.compute, self.evidence, self.background
        return sum(executor.threads for executor in querying)

    async def close(self, seconds: float) -> bool:
        """Close all pools; return whether all work ended within the seconds."""
        return all(await asyncio.gather(*(executor.close(seconds) for executor in self.all)))
