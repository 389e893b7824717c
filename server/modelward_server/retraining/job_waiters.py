"""Long polling of retraining workers for a job."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from modelward.errors import JobAlreadyLeased, NotDue
from modelward_server.retraining.job_queries import JobQuery, due_without_job, free_jobs, policy_matches
from modelward_server.runtime.waiters import POLL_SECONDS, Waiters
from modelward_server.storage.unit_of_work import UnitOfWork

Value = TypeVar("Value")


class JobWaiters(Waiters):
    """The retraining workers that wait for a job on one server."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        super().__init__(retry_on=(NotDue, JobAlreadyLeased))
        self._unit_of_work = unit_of_work
        self._due: list[str] = []
        self._due_known_until = 0.0
        self._looking = asyncio.Lock()

    async def lease(self, query: JobQuery, attempt: Callable[[], Awaitable[Value]], seconds: float) -> Value:
        """Lease a job as soon as one is free, for up to a number of seconds.

        Raises:
            NotDue, JobAlreadyLeased: no job became free in that time.
            Unavailable: the server stops.
        """
        return await self.first(attempt, lambda: self._may_be_one(query), seconds)

    async def _may_be_one(self, query: JobQuery) -> bool:
        now = datetime.now(UTC)
        if await self._unit_of_work.read(lambda session: free_jobs(session, query, now)):
            return True
        due = await self._due_without_job()
        return bool(due) and await self._unit_of_work.read(
            lambda session: any(policy_matches(session, model, query) for model in due)
        )

    async def _due_without_job(self) -> list[str]:
        """Return the models that schedules make due; read once per second for all waiters."""
        async with self._looking:
            if time.monotonic() >= self._due_known_until:
                now = datetime.now(UTC)
                self._due = await self._unit_of_work.read(lambda session: due_without_job(session, JobQuery(), now))
                self._due_known_until = time.monotonic() + POLL_SECONDS
            return self._due
