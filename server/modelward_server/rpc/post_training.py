"""The task, in every server, that does what follows jobs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError, Unavailable
from modelward.v1.comparison_pb2 import CompareModelsRequest
from modelward_server.comparison.compare import Answer
from modelward_server.retraining import post_training
from modelward_server.rpc.unit_of_work import Calls
from modelward_server.runtime.background import alongside, progressed, stalled
from modelward_server.runtime.retries import Retries

log = logging.getLogger(__name__)

ACTOR = "modelward"
"""Who the record names for what the server does by a policy."""
POLL_SECONDS = 1.0
"""How often it looks for what another server left; a job that ends here wakes it at once."""
MAX_PAUSE_SECONDS = 300.0
"""The longest time until what follows a job is tried again after it failed."""
Compare = Callable[[CompareModelsRequest], Awaitable[Answer]]


class FollowUps:
    """Takes the next step of whatever job has one."""

    def __init__(self, calls: Calls, compare: Compare) -> None:
        self._calls = calls
        self._compare = compare
        self._changed = asyncio.Event()
        self._retries = Retries[str]("what follows the job", POLL_SECONDS, MAX_PAUSE_SECONDS)

    def wake(self) -> None:
        """Tell it that a job has ended."""
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled; what was not finished then is gone on with by the next server that looks."""
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
        jobs = await self._calls.read(lambda session: post_training.unfinished(session, datetime.now(UTC)))
        return list(filter(self._retries.is_due, jobs))

    async def _advance(self, job_id: str) -> None:
        question = await self._calls.act_prepared(
            ACTOR,
            lambda session: post_training.evidence_for(session, job_id),
            lambda session, caller, evidence: post_training.advance(session, job_id, evidence, caller),
            at_first=[None],
        )
        if question is None:
            return
        try:
            async with alongside(lambda: self._keep(job_id)):
                await self._answer(job_id, question)
        except asyncio.CancelledError:  # The server stops: another need not wait until the claim is over.
            await self._calls.act(ACTOR, lambda session, caller: post_training.release(session, job_id))
            raise

    async def _answer(self, job_id: str, question: CompareModelsRequest) -> None:
        """Compare, and note what came of it."""
        try:
            answer = await self._compare(question)
        except Unavailable:
            raise
        except ModelwardError as error:
            await self._leave(job_id, f"the comparison failed: {error.message}")
        except Exception:
            log.exception("the comparison that follows %s failed", job_id)
            await self._leave(job_id, "the comparison failed; the server's log says why")
        else:
            await self._calls.act(
                ACTOR, lambda session, caller: post_training.compared(session, job_id, answer, caller)
            )

    async def _leave(self, job_id: str, reason: str) -> None:
        await self._calls.act(
            ACTOR, lambda session, caller: post_training.leave_to_a_person(session, job_id, reason, caller)
        )

    async def _keep(self, job_id: str) -> None:
        """Keep other servers from the same work until cancelled."""
        while True:
            await asyncio.sleep(post_training.CLAIM.total_seconds() / 3)
            with suppress(ModelwardError):
                await self._calls.act(ACTOR, lambda session, caller: post_training.keep(session, job_id, caller))
