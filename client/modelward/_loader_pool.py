"""A few workers that keep many models current, each model by one of them at a time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

WORKERS = 4
"""How many models are resolved, downloaded and loaded at once."""


class LoaderPool:
    """A pool of threads.

    Args:
        work: updates the model with a name; it raises nothing.
    """

    def __init__(self, work: Callable[[str], None]) -> None:
        self._work = work
        self._executor = ThreadPoolExecutor(WORKERS, "modelward-follow")
        self._lock = threading.Lock()
        self._again: dict[str, bool] = {}
        """The models at work or waiting, and whether each of them is to be updated once more."""
        self._futures: set[Future[None]] = set()
        self._closed = False

    def submit(self, name: str) -> None:
        """Update a model soon; if it is being updated, once more after that."""
        with self._lock:
            self._submit(name)

    def _submit(self, name: str) -> None:
        if name in self._again:
            self._again[name] = True
        elif not self._closed:
            self._again[name] = False
            future = self._executor.submit(self._run, name)
            self._futures.add(future)

    def _run(self, name: str) -> None:
        try:
            self._work(name)
        finally:
            with self._lock:
                self._futures = {future for future in self._futures if not future.done()}
                if self._again.pop(name):
                    self._submit(name)

    def settle(self) -> None:
        """Wait until every model that was submitted is updated."""
        while True:
            with self._lock:
                pending = [future for future in self._futures if not future.done()]
            if not pending:
                return
            wait(pending)

    def close(self) -> None:
        """Start no further update, and do not wait for those that run."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)


class AsyncLoaderPool:
    """A pool of tasks on an event loop.

    Args:
        work: updates the model with a name; it raises nothing.
    """

    def __init__(self, work: Callable[[str], Awaitable[None]]) -> None:
        self._work = work
        self._workers = asyncio.Semaphore(WORKERS)
        self._again: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(self, name: str) -> None:
        """Update a model soon; if it is being updated, once more after that."""
        if name in self._again:
            self._again[name] = True
        elif not self._closed:
            self._again[name] = False
            task = asyncio.create_task(self._run(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, name: str) -> None:
        try:
            async with self._workers:
                await self._work(name)
        finally:
            if self._again.pop(name):
                self.submit(name)

    async def settle(self) -> None:
        """Wait until every model that was submitted is updated."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def close(self) -> None:
        """Start no further update, and end those that run."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
