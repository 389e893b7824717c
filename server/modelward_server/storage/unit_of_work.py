"""Run functions against the ledger: on the right executor, each in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.orm import Session

from modelward.errors import ConcurrentChange
from modelward_server.actor_context import ActorContext
from modelward_server.runtime.best_effort import best_effort
from modelward_server.runtime.executors import Executors
from modelward_server.runtime.tracing import span
from modelward_server.storage import audit
from modelward_server.storage.group_commit import Waiting
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.prepared import Outdated

MAX_ATTEMPTS = 5
"""Attempts at a transaction that conflicts with other writers."""

Value = TypeVar("Value")
Prepared = TypeVar("Prepared")


class UnitOfWork:
    """Runs functions against the ledger, each in one transaction.

    Args:
        executors: the threads for transactions and for a servicer's other work.
        on_write: called after each committed change.
        background: use the executor of the server's own work, so that clients' calls do not wait for it.
    """

    def __init__(
        self, ledger: Ledger, executors: Executors, on_write: Callable[[], None], *, background: bool = False
    ) -> None:
        self.ledger = ledger
        self.executors = executors
        self._reads = executors.background if background else executors.reads
        self._writes = executors.background if background else executors.writes
        self._analyses = executors.background if background else executors.compute
        self._on_write = best_effort(on_write)  # The change is committed: a failure here must not fail the call.

    async def read(self, query: Callable[[Session], Value], *, urgent: bool = False) -> Value:
        """Run a function that only reads; `urgent` reads have an executor of their own."""
        return await (self.executors.urgent if urgent else self._reads).run(self._read, query)

    async def analyse(self, query: Callable[[Session], Value]) -> Value:
        """Run a function that reads many rows, or computes with what it reads."""
        return await self._analyses.run(self._read, query)

    async def fetch_one(self, statement: Executable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Fetch one row by its key."""
        return await self.executors.urgent.run(self.ledger.fetch_one, statement, values)

    async def run_as_system(self, actor: str, change: Callable[[Session, ActorContext], Value]) -> Value:
        """Run a change that the server makes on its own, in one transaction.

        Args:
            actor: the name to record.
            change: may run more than once when it conflicts with other writers; only the last run counts.

        Raises:
            ConcurrentChange: it conflicted with other writers `MAX_ATTEMPTS` times.
        """
        result = await self._commit(lambda session: change(session, audit.begin_change(session, actor)))
        self._on_write()
        return result

    async def run_prepared_as_system(
        self,
        actor: str,
        prepare: Callable[[Session], Prepared],
        change: Callable[[Session, ActorContext, Prepared], Value],
        *,
        at_first: Sequence[Prepared] = (),
    ) -> Value:
        """Run a change that the server makes on its own, after preparing it outside the write transaction.

        Args:
            prepare: reads, in a session of its own, and computes what the change needs.
            change: checks that this still holds; when it raises `Outdated`, both run again.
            at_first: prepared values to try before `prepare` runs, where these often suffice.

        Raises:
            ConcurrentChange: the preparation was outdated, or the change conflicted with other writers, each time.
        """
        return await self._prepared(
            prepare,
            lambda prepared: self.run_as_system(actor, lambda session, context: change(session, context, prepared)),
            at_first,
        )

    async def _prepared(
        self,
        prepare: Callable[[Session], Prepared],
        run: Callable[[Prepared], Awaitable[Value]],
        at_first: Sequence[Prepared],
    ) -> Value:
        for prepared in at_first:
            with suppress(Outdated):
                return await run(prepared)
        for _ in range(MAX_ATTEMPTS):
            prepared = await self.analyse(prepare)
            with suppress(Outdated):
                return await run(prepared)
        raise ConcurrentChange("the data that this depends on kept changing; retry with the same request id")

    def _read(self, query: Callable[[Session], Value]) -> Value:
        with span("ledger read"), self.ledger.reading() as session:
            return query(session)

    async def _commit(self, change: Callable[[Session], Value], *, urgent: bool = False) -> Value:
        """Run a change on the executor of writes, or on that of what is urgent.

        It waits for the ledger at once, not only once a thread is free: whichever thread writes next takes it along.
        """
        one = self.ledger.group.add(change)
        executor, write = (self.executors.urgent, self._write_urgently) if urgent else (self._writes, self._write)
        try:
            return await executor.run(write, change, one)
        except BaseException:  # Too many changes wait for a thread, or nobody waits for this one any more.
            self.ledger.group.withdraw(one)
            raise

    def _write(
        self, change: Callable[[Session], Value], waiting: Waiting[Value] | None = None, *, alone: bool = False
    ) -> Value:
        """Run a change, again while it conflicts with other writers; the first time it may wait already."""
        run = partial(self.ledger.commit, change, alone=alone)
        first = run if waiting is None else partial(self.ledger.group.finish, waiting)
        for attempt in (first, *[run] * (MAX_ATTEMPTS - 2)):
            with suppress(ConcurrentChange):
                return attempt()
        return run()

    def _write_urgently(self, change: Callable[[Session], Value], waiting: Waiting[Value]) -> Value:
        first = iter([waiting])  # With the reserve of a full disk it is another attempt.
        return self.ledger.run_with_reserve(lambda: self._write(change, next(first, None)))
