"""Waiting for a job: workers that ask with a `wait` try again when there may be one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

from modelward.errors import JobAlreadyLeased, NotDue, Unavailable
from modelward_server.retraining.job_queries import Wanted, due_without_job, free_jobs, policy_suits
from modelward_server.rpc.unit_of_work import Calls

Value = TypeVar("Value")
POLL_SECONDS = 1.0
"""How often jobs are looked for that another replica made or that came due; what is asked for here is told at once."""


class Openings:
    """Where workers wait on one server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._changed = asyncio.Event()
        self._closed = False
        self._due: list[str] = []
        self._due_known_until = 0.0
        self._looking = asyncio.Lock()

    def wake(self) -> None:
        """Let everybody who waits look at once: there may be a job more."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Send away everybody who waits, to another server or to this one when it is back."""
        self._closed = True
        self.wake()

    async def first(self, wanted: Wanted, lease: Callable[[], Awaitable[Value]], seconds: float) -> Value:
        """Lease as soon as there is a job, or raise why there is none when the time is up.

        Raises:
            NotDue, JobAlreadyLeased: there was no job in all that time.
            Unavailable: the server stops.
        """
        end = time.monotonic() + seconds
        while True:
            changed = self._changed
            try:
                return await lease()
            except (NotDue, JobAlreadyLeased):
                if not await self._there_is_one(wanted, changed, end):
                    raise

    async def _there_is_one(self, wanted: Wanted, changed: asyncio.Event, end: float) -> bool:
        """Wait until there may be a job; return whether that was before the time is up."""
        while (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(left, POLL_SECONDS))
            if self._closed:
                raise Unavailable("the server stops; ask again")
            changed = self._changed
            if await self._may_be_one(wanted):
                return True
        return False

    async def _may_be_one(self, wanted: Wanted) -> bool:
        """Look without a lock and without a change: whoever waits must not keep others from writing."""
        now = datetime.now(UTC)
        if await self._calls.read(lambda session: free_jobs(session, wanted, now)):
            return True
        due = await self._due_without_job()
        return bool(due) and await self._calls.read(
            lambda session: any(policy_suits(session, model, wanted) for model in due)
        )

    async def _due_without_job(self) -> list[str]:
        """Return the models that schedules make due; looked up once a second for all who wait."""
        async with self._looking:
            if time.monotonic() >= self._due_known_until:
                now = datetime.now(UTC)
                self._due = await self._calls.read(lambda session: due_without_job(session, Wanted(), now))
                self._due_known_until = time.monotonic() + POLL_SECONDS
            return self._due
