"""Background tasks by themselves: restarted, shown, and left behind when they do not end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from modelward.errors import StoreUnavailable
from modelward_server.runtime import background
from modelward_server.runtime.background import Background, TaskState, alongside, in_own_thread, progressed, stalled
from tests.support.waiting import PATIENCE_SECONDS


class Shown:
    """Stands for the health service."""

    def __init__(self) -> None:
        self.states: list[tuple[str, bool]] = []

    async def show(self, name: str, well: bool) -> None:
        self.states.append((name, well))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def failing(*errors: BaseException) -> tuple[list[int], Callable[[], Awaitable[None]]]:
    """Return a task that raises one error after the other and then works on, and the list of its runs."""
    runs: list[int] = []

    async def run() -> None:
        runs.append(len(runs))
        if len(runs) <= len(errors):
            raise errors[len(runs) - 1]
        await progressed()
        await asyncio.sleep(PATIENCE_SECONDS)

    return runs, run


async def test_a_task_that_raises_anything_is_logged_shown_and_restarted(caplog: pytest.LogCaptureFixture) -> None:
    errors = (ZeroDivisionError("one"), asyncio.CancelledError("leaked"), SystemExit(3), MemoryError(), KeyError("x"))
    runs, run = failing(*errors)
    shown = Shown()
    tasks = Background(shown.show)
    tasks.start("clock", run)
    await until(lambda: len(runs) == len(errors) + 1)
    [status] = tasks.statuses
    assert (status.state, status.failures, status.error_type) == (TaskState.RUNNING, len(errors), "KeyError")
    name = "modelward.background.clock"
    assert shown.states == [(name, True), (name, False), (name, True)]
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info and record.exc_info[1] for record in told] == list(errors)
    await tasks.stop(PATIENCE_SECONDS)


async def test_the_pause_grows(caplog: pytest.LogCaptureFixture) -> None:
    runs, run = failing(*[ValueError()] * 4)
    tasks = Background(Shown().show)
    tasks.start("clock", run)
    await until(lambda: len(runs) == 5)
    pauses = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    await tasks.stop(PATIENCE_SECONDS)


async def test_a_log_or_a_health_service_that_fails_ends_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AttributeError("half imported")

    async def show(_name: str, _well: bool) -> None:
        raise RuntimeError("no health")

    monkeypatch.setattr(background.log, "error", broken)
    runs, run = failing(ValueError(), ValueError())
    tasks = Background(show)
    tasks.start("clock", run)
    await until(lambda: len(runs) == 3)
    await tasks.stop(PATIENCE_SECONDS)


async def test_a_task_that_stalls_is_shown_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    shown, stop = Shown(), asyncio.Event()

    async def run() -> None:
        while not stop.is_set():
            await stalled(StoreUnavailable("the disk is gone", store="ledger"))
            await asyncio.sleep(0.001)
        await progressed()
        await asyncio.sleep(PATIENCE_SECONDS)

    tasks = Background(shown.show)
    tasks.start("feed", run)
    await until(lambda: tasks.statuses[0].failures > 10)
    assert tasks.statuses[0].state is TaskState.STALLED
    stop.set()
    await until(lambda: tasks.statuses[0].state is TaskState.RUNNING)
    assert [well for _, well in shown.states] == [True, False, True]
    assert [record.getMessage() for record in caplog.records] == [
        "the background task feed cannot proceed for now: the disk is gone"
    ]
    await tasks.stop(PATIENCE_SECONDS)


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    over = asyncio.Event()

    async def run() -> None:
        while not over.is_set():
            try:
                await asyncio.sleep(PATIENCE_SECONDS)
            except asyncio.CancelledError:
                await over.wait()

    tasks = Background(Shown().show)
    tasks.start("stubborn", run)
    tasks.start("good", lambda: asyncio.sleep(PATIENCE_SECONDS))
    await asyncio.sleep(0)
    begun = time.monotonic()
    stopping = asyncio.create_task(tasks.stop(0.2))
    await asyncio.wait({stopping}, timeout=PATIENCE_SECONDS)
    assert stopping.done()
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2
    over.set()


async def test_a_function_that_hangs_in_its_thread_does_not_hold_the_stop() -> None:
    import threading

    over = threading.Event()
    tasks = Background(Shown().show)
    tasks.start("hanging", lambda: in_own_thread(lambda: print(over.wait(PATIENCE_SECONDS))))
    await until(lambda: any(thread.name == "modelward background" for thread in threading.enumerate()))
    begun = time.monotonic()
    await tasks.stop(0.2)
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2
    over.set()


async def test_a_helper_that_fails_is_restarted_and_ends_with_its_block() -> None:
    runs, run = failing(ValueError(), ValueError())
    async with alongside(run):
        await until(lambda: len(runs) == 3)
    assert all("_keep_running" not in repr(task) for task in asyncio.all_tasks())
