"""Supervision of background tasks: start, restart after a failure, report of the state, and stop with the server.

A task is an endless coroutine that calls `progressed` after each successful pass. It handles expected failures, such as
an unavailable database, itself and reports them with `stalled`. Any other exception ends that run, is logged with its
traceback, and the task is restarted after a pause.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

FIRST_PAUSE_SECONDS = 0.5
"""Pause after the first failure; it doubles with each consecutive one."""
MAX_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""A failure after a run of this length counts as the first again."""
HEALTH_PREFIX = "modelward.background."
"""Prefix of a task's name in the health service."""

Run = Callable[[], Awaitable[None]]
Show = Callable[[str, bool], Awaitable[None]]
"""Reports to the health service whether the service with that name is healthy."""


class TaskState(StrEnum):
    """State of a background task."""

    RUNNING = "running"
    STALLED = "stalled"
    """It cannot proceed for an expected reason, and retries by itself."""
    RESTARTING = "restarting"
    """It failed, and no pass of a later run has succeeded yet."""


@dataclass
class TaskStatus:
    """State and failures of one background task."""

    name: str
    show: Show | None = None
    state: TaskState = TaskState.RUNNING
    failures: int = 0
    """Number of times it failed, stalled, or gave up one item of many, since the server started."""
    error: str = ""
    """Text of the last failure."""
    error_type: str = ""
    failed_at: float = 0.0
    """Time of the last failure in seconds since the epoch."""

    def note(self, error: BaseException) -> bool:
        """Count a failure, and return whether it differs from the last one."""
        text = f"{type(error).__name__}: {error}"
        is_new, self.error, self.error_type = text != self.error, text, type(error).__name__
        self.failures, self.failed_at = self.failures + 1, time.time()
        return is_new

    async def become(self, state: TaskState) -> None:
        """Change the state, and publish the change."""
        if state is not self.state:
            self.state = state
            await self.publish()

    async def publish(self) -> None:
        """Report the state to the health service, whose failure must not end the task."""
        with suppress(Exception):
            if self.show:
                await self.show(f"{HEALTH_PREFIX}{self.name}", self.state is TaskState.RUNNING)


_in_own_threads: set[Future[Any]] = set()
_current: ContextVar[TaskStatus | None] = ContextVar("background_task", default=None)


async def progressed() -> None:
    """Report that the current task completed a pass."""
    if status := _current.get():
        await status.become(TaskState.RUNNING)


async def stalled(error: Exception) -> None:
    """Report that the current task cannot proceed for now; logged when that begins and when the reason changes."""
    if status := _current.get():
        if status.note(error) or status.state is TaskState.RUNNING:
            reason = str(error).partition("\n")[0]  # SQLAlchemy's errors continue with the SQL.
            log.warning("the background task %s cannot proceed for now: %s", status.name, reason)
        await status.become(TaskState.STALLED)


def note_failure(error: Exception) -> None:
    """Count one item of many that the current task gave up for now; the task itself continues."""
    if status := _current.get():
        status.note(error)


class Background:
    """Supervises a server's background tasks.

    Args:
        show: reports their states to the health service.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._statuses: list[TaskStatus] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def statuses(self) -> Sequence[TaskStatus]:
        return self._statuses

    def start(self, name: str, run: Run) -> None:
        """Start a task, and restart it whenever it fails.

        Args:
            name: its name in health service, metrics and log; lower-case letters, digits and hyphens.
        """
        status = TaskStatus(name, self._show)
        self._statuses.append(status)
        self._tasks[name] = asyncio.create_task(_keep_running(status, run), name=f"background {name}")

    async def finish(self, name: str, seconds: float) -> None:
        """Wait at most `seconds` until a task that was asked to end has ended."""
        await asyncio.wait({self._tasks[name]}, timeout=seconds)

    async def stop(self, seconds: float) -> None:
        """Cancel every task; tasks that have not ended after `seconds` are abandoned."""
        running = {task for task in self._tasks.values() if not task.done()}
        for _ in range(2):  # The first cancellation may have been swallowed.
            for task in running:
                task.cancel()
            if running:
                _, running = await asyncio.wait(running, timeout=seconds / 2)
        if running:
            names = ", ".join(sorted(task.get_name() for task in running))
            log.warning("the server stops without waiting for: %s", names)
        # These threads continue when their task is cancelled, and may hold connections.
        threads = [asyncio.wrap_future(future) for future in list(_in_own_threads)]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*threads, return_exceptions=True), seconds)


@asynccontextmanager
async def alongside(run: Run) -> AsyncIterator[None]:
    """Run a helper of the current task beside a block, restart it whenever it fails, and end it with the block."""
    status = _current.get() or TaskStatus("helper")
    helper = asyncio.create_task(_keep_running(status, run))
    try:
        yield
    finally:
        helper.cancel()
        await asyncio.wait({helper})


async def in_own_thread(
    function: Callable[Arguments, Value], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Value:
    """Run a function in a thread of its own, which neither occupies an executor nor delays the process's end."""
    future: Future[Value] = Future()
    _in_own_threads.add(future)
    future.add_done_callback(_in_own_threads.discard)
    future.set_running_or_notify_cancel()  # The awaiting task may be cancelled; the function continues.
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="modelward background", daemon=True).start()
    return await asyncio.wrap_future(future)


async def _keep_running(status: TaskStatus, run: Run) -> None:
    """Run repeatedly until cancelled, or until a run returns normally, as that of a task that was asked to end."""
    _current.set(status)
    await status.publish()
    pause = FIRST_PAUSE_SECONDS
    begun = time.monotonic()
    while error := await _failure(run):
        pause = FIRST_PAUSE_SECONDS if time.monotonic() - begun > STABLE_SECONDS else pause
        status.note(error)
        with suppress(Exception):  # A filter or a handler of the log that fails must not end the task.
            log.error("the background task %s failed and restarts in %.1f s", status.name, pause, exc_info=error)
        await status.become(TaskState.RESTARTING)
        await asyncio.sleep(pause)
        pause, begun = min(pause * 2, MAX_PAUSE_SECONDS), time.monotonic()


async def _failure(run: Run) -> BaseException | None:
    """Run once and return the exception that it raised; only a cancellation of the task itself propagates."""
    try:
        await run()
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # Also a cancellation that leaked from something it waited for.
    return None
