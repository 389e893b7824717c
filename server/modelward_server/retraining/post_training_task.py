"""The background task that takes the follow-up steps of completed jobs: staging, comparison, promotion."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import ModelwardError, Unavailable
from modelward.lifecycle import VersionRef
from modelward_server.comparison.service import ComparisonService, Table
from modelward_server.lifecycle.gates import Evidence
from modelward_server.retraining import post_training
from modelward_server.runtime.background import alongside, progressed, stalled
from modelward_server.runtime.retries import Retries
from modelward_server.storage.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

ACTOR = "modelward"
"""The actor recorded for what the server does by a policy."""
POLL_SECONDS = 1.0
"""Interval at which it looks for steps that other servers left; a job that ends here wakes it immediately."""
MAX_PAUSE_SECONDS = 300.0
"""Maximum pause between attempts of a step that fails."""
Gather = Callable[[Session, VersionRef], Evidence]
"""Reads the evidence that the promotion gates require about a candidate."""


class PostTraining:
    """Takes the next follow-up step of each job that has one.

    Args:
        unit_of_work: the transactions of the ledger.
        comparisons: the comparison service.
        gather: reads the evidence for the promotion gates.
        table: returns the table of a serialized `Dataset`, or of a URI if there is none.
        tried: waits for the trial of a version, without which it is not promoted.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        comparisons: ComparisonService,
        gather: Gather,
        table: Callable[[bytes | None, str], Table],
        tried: Callable[[VersionRef], Awaitable[None]],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._comparisons = comparisons
        self._gather = gather
        self._table = table
        self._tried = tried
        self._changed = asyncio.Event()
        self._retries = Retries[str]("what follows the job", POLL_SECONDS, MAX_PAUSE_SECONDS)

    def wake(self) -> None:
        """Check immediately, because a job has ended."""
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled; another server continues with steps that are not finished then."""
        while True:
            self._changed.clear()
            try:
                await self._work()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
                await asyncio.sleep(POLL_SECONDS)
            else:
                await progressed()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)

    async def _work(self) -> None:
        while jobs := await self._due():
            for job_id in jobs:
                with self._retries.attempt(job_id):
                    await self._advance(job_id)

    async def _due(self) -> list[str]:
        jobs = await self._unit_of_work.read(lambda session: post_training.unfinished_jobs(session, datetime.now(UTC)))
        return list(filter(self._retries.is_due, jobs))

    async def _advance(self, job_id: str) -> None:
        await self._tried(await self._unit_of_work.read(lambda session: post_training.successor_of(session, job_id)))
        task = await self._unit_of_work.run_prepared_as_system(
            ACTOR,
            lambda session: self._gather(session, post_training.successor_of(session, job_id)),
            lambda session, actor, evidence: post_training.advance(session, job_id, evidence, actor),
            at_first=[None],
        )
        if task is None:
            return
        try:
            async with alongside(lambda: self._renew_claim(job_id)):
                await self._compare(job_id, task)
        except asyncio.CancelledError:  # The server stops: another one need not wait for the claim to expire.
            await self._unit_of_work.run_as_system(ACTOR, lambda session, actor: post_training.release(session, job_id))
            raise

    async def _compare(self, job_id: str, task: post_training.ComparisonTask) -> None:
        """Run the comparison and record its result."""
        try:
            table = self._table(task.evaluation, task.evaluation_uri)
            request = await asyncio.to_thread(task.request_of_sessions)
            result = await self._comparisons.compare(request, table)
        except Unavailable:
            raise
        except ModelwardError as error:
            await self._wait_for_review(job_id, f"the comparison failed: {error.message}")
        except Exception:
            log.exception("the comparison that follows %s failed", job_id)
            await self._wait_for_review(job_id, "the comparison failed; see the server's log")
        else:
            await self._unit_of_work.run_as_system(
                ACTOR, lambda session, actor: post_training.record_comparison(session, job_id, result, actor)
            )

    async def _wait_for_review(self, job_id: str, reason: str) -> None:
        await self._unit_of_work.run_as_system(
            ACTOR, lambda session, actor: post_training.wait_for_review(session, job_id, reason, actor)
        )

    async def _renew_claim(self, job_id: str) -> None:
        """Renew the claim, which keeps other servers from the same comparison, until cancelled."""
        while True:
            await asyncio.sleep(post_training.CLAIM_DURATION.total_seconds() / 3)
            with suppress(ModelwardError):
                await self._unit_of_work.run_as_system(
                    ACTOR, lambda session, actor: post_training.renew_claim(session, job_id, actor)
                )
