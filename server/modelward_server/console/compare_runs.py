"""Comparisons that were begun in the console, with their progress: kept in memory until they are forgotten."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from modelward import Comparison
from modelward.comparison import ComparisonProgress
from modelward.errors import LimitReached, ModelwardError
from modelward_server.runtime.admission import Admission

MAX_RUNNING = 4
"""Of one credential at the same time, with their data in memory."""
MAX_KEPT = 50
Listener = Callable[[Any], None]
Compare = Callable[[Callable[[ComparisonProgress], None]], Coroutine[Any, Any, Comparison]]
"""Compares, and calls its argument after each step."""


@dataclass
class Run:
    """A comparison that was begun here.

    Attributes:
        run_id: the request id that was made with its form.
        versions: what is compared.
        command: the same by command.
        form: the query of the address that shows its form again.
    """

    run_id: str
    versions: tuple[str, ...]
    command: str
    form: str
    progress: ComparisonProgress = field(default_factory=lambda: ComparisonProgress(0.0, "began"))
    comparison: Comparison | None = None
    error: ModelwardError | None = None
    task: "asyncio.Task[None] | None" = None
    _listeners: set[Listener] = field(default_factory=set)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether it has a verdict, or has failed."""
        return self.comparison is not None or self.error is not None

    def begin(self, compare: Compare) -> None:
        """Compare, without waiting for it."""
        self.task = asyncio.create_task(self._run(compare))

    async def began(self, seconds: float) -> None:
        """Wait for the first step, or for the end, but not for longer than so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), seconds)

    @contextmanager
    def telling(self, listener: Listener) -> Iterator[None]:
        """Tell a listener of each step and of the end."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    async def _run(self, compare: Compare) -> None:
        try:
            self.comparison = await compare(self._note)
        except ModelwardError as error:
            self.error = error
        self._note(self.progress)

    def _note(self, progress: ComparisonProgress) -> None:
        self.progress = progress
        self._begun.set()
        for listener in list(self._listeners):
            listener(progress)


class Runs:
    """The comparisons of one credential, the oldest of those that ended forgotten first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Run] = {}
        self.forms = Admission("uploads of yours", "console_uploads", MAX_RUNNING)
        """Bounds the forms whose files arrive, or are read, at the same time."""

    def find(self, run_id: str) -> Run | None:
        """Return a comparison; None if there is none, or it was forgotten."""
        return self._by_id.get(run_id)

    def check_room(self) -> None:
        """Refuse a further comparison where too many run.

        Raises:
            LimitReached: too many run.
        """
        running = sum(not run.ended for run in self._by_id.values())
        if running >= MAX_RUNNING:
            raise LimitReached(f"{running} comparisons run already; begin this one when one of them has ended")

    def begin(self, run: Run, compare: Compare) -> None:
        """Begin a comparison.

        Raises:
            LimitReached: too many run.
        """
        self.check_room()
        ended = [run_id for run_id, kept in self._by_id.items() if kept.ended]
        for run_id in ended[: max(0, len(self._by_id) + 1 - MAX_KEPT)]:
            del self._by_id[run_id]
        self._by_id[run.run_id] = run
        run.begin(compare)

    def forget(self, run: Run) -> None:
        """Forget a comparison that was refused."""
        self._by_id.pop(run.run_id, None)

    def end(self) -> None:
        """Cancel those that run."""
        for run in self._by_id.values():
            if run.task:
                run.task.cancel()
        self._by_id.clear()
