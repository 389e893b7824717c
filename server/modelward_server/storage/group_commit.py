"""Group commit: changes that wait for each other are committed together, so that they wait for the disk once."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import StoreUnavailable
from modelward_server.runtime.tracing import span
from modelward_server.storage import audit
from modelward_server.storage.audit_logging import drop_lines, number_of_lines
from modelward_server.storage.write_counter import writes

MAX_CHANGES = 64
"""Maximum number of changes of one transaction."""
MAX_SECONDS = 0.1
"""A transaction takes no further change after this time: those before it wait for its commit."""

Value = TypeVar("Value")
Change = Callable[[Session], Value]


class ChangeError(Exception):
    """A change raised something after it had written."""


class Waiting(Generic[Value]):
    """A change that waits for its turn, and then what came of it; it runs in the context of its own thread."""

    def __init__(self, change: Change[Value]) -> None:
        context = copy_context()
        self._change: Change[Value] = lambda session: context.run(change, session)
        self.done = False
        self._value: Value | None = None
        # For the case that the thread that runs it ends.
        self._error: Exception | None = StoreUnavailable("the change was cut off; retry it", store="ledger")

    def attempt(self, session: Session) -> None:
        """Run the change in a transaction, which must be rolled back if this raises."""
        before = writes(session)
        try:
            self._value, self._error = self._change(session), None
        except SQLAlchemyError:
            raise
        except Exception as error:
            if writes(session) != before:
                raise ChangeError from error
            self._error = error
        session.flush()
        session.expunge_all()  # Each change reads what it needs, as if it were alone.

    def attempt_apart(self, session: Session) -> None:
        """Run the change in a savepoint of a transaction; what it raises affects no other change.

        Raises:
            SQLAlchemyError: the database refuses, and the transaction may have ended.
        """
        lines = number_of_lines(session)
        try:
            with session.begin_nested():
                self.attempt(session)
                audit.write_pending(session)
        except ChangeError as error:
            self._error = cast(Exception, error.__cause__)
            session.expunge_all()
            drop_lines(session, lines)
            audit.forget_pending(session)

    def attempt_alone(self, alone: Callable[[Change[Value]], Value]) -> None:
        """Run the change in a transaction of its own."""
        try:
            self._value, self._error = alone(self._change), None
        except Exception as error:
            self._error = error
        finally:
            self.done = True

    def fail(self, error: Exception) -> None:
        """Let the change fail, unless it has failed by itself."""
        self._error = self._error or error

    def result(self) -> Value:
        """Return what the change returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


@dataclass
class _Group:
    """The changes of one transaction."""

    changes: list[Waiting[Any]] = field(default_factory=list)
    is_complete: bool = False
    """Whether only the commit is left."""

    def end(self, error: Exception, alone: Callable[[Change[Any]], Any]) -> None:
        """Let the changes fail with their commit, or run each alone because the database refused something."""
        for one in self.changes:
            if self.is_complete:
                one.fail(error)
            else:
                one.attempt_alone(alone)


class GroupCommit:
    """Runs changes of several callers: the first thread that gets its turn runs those of all that wait.

    Changes that wait are run one after the other in one transaction. When one raises after it has written, all of them
    run again, each in a savepoint; at first there are none, because they cost as much as a small change. When the
    database refuses something, each change runs again in a transaction of its own, where its error is its own. When the
    commit itself fails, all of them fail as one change does: whether it took effect may be unknown.

    Args:
        transaction: opens a session that is committed at its end.
        turn: held by the thread that writes.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Session]],
        turn: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._transaction = transaction
        self._turn = turn
        self._waiting = deque[Waiting[Any]]()

    def run(self, change: Change[Value]) -> Value:
        """Run a change, and return once it is committed.

        Args:
            change: may run more than once; only the last run counts.

        Raises:
            whatever the change or the commit raises.
        """
        return self.finish(self.add(change))

    def add(self, change: Change[Value]) -> "Waiting[Value]":
        """Let a change wait for the next transaction, whoever begins it; `finish` must follow, or `withdraw`."""
        one = Waiting(change)
        self._waiting.append(one)
        return one

    def withdraw(self, one: "Waiting[Any]") -> None:
        """Take back a change that no transaction has taken yet."""
        with suppress(ValueError):
            self._waiting.remove(one)
            one.done = True

    def finish(self, one: "Waiting[Value]") -> Value:
        """Return once a change that was added is committed, and with it what the change returned.

        Raises:
            whatever the change or the commit raises.
        """
        if not one.done:
            try:
                with self._turn():
                    while not one.done:
                        self._commit_some()
            except StoreUnavailable:  # The turn never came.
                self.withdraw(one)
                raise
        return one.result()

    def alone(self, change: Change[Value]) -> Value:
        """Run a change in a transaction of its own."""
        with span("ledger write"), self._transaction() as session:
            return change(session)

    def _commit_some(self) -> None:
        """Commit changes that wait, those that came first."""
        if len(self._waiting) == 1:
            self._waiting.popleft().attempt_alone(self.alone)
            return
        group = _Group()
        try:
            self._commit_group(group)
        except Exception as error:
            group.end(error, self.alone)
        finally:
            for one in group.changes:
                one.done = True

    def _commit_group(self, group: _Group) -> None:
        try:
            with span("ledger write"), self._transaction() as session:
                self._attempt_waiting(group, session)
        except ChangeError:
            with span("ledger write"), self._transaction() as session:
                self._attempt_apart(group, session)

    def _attempt_waiting(self, group: _Group, session: Session) -> None:
        until = time.monotonic() + MAX_SECONDS
        while self._waiting and len(group.changes) < MAX_CHANGES and time.monotonic() < until:
            group.changes.append(self._waiting.popleft())
            group.changes[-1].attempt(session)
        audit.write_pending(session)
        group.is_complete = True

    def _attempt_apart(self, group: _Group, session: Session) -> None:
        for one in group.changes:
            one.attempt_apart(session)
        group.is_complete = True
