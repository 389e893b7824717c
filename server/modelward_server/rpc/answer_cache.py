"""Answers that are served again, without a query or a thread, while nothing was committed to the ledger."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelward_server import identity
from modelward_server.identity import Identity
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.storage.commit_counter import State

MAX_ANSWERS = 1_000
MAX_BYTES = 32 << 10
"""The largest answer that is kept; together they take 32 MiB at most."""

FOREVER = datetime.max.replace(tzinfo=UTC)

Answer = TypeVar("Answer", bound=Message)
AnyKey = TypeVar("AnyKey")
Value = TypeVar("Value")
Key = tuple[str, bytes, Identity | None]


class _Kept(NamedTuple, Generic[Value]):
    state: State
    until: datetime
    value: Value


class KeptReads(Generic[AnyKey, Value]):
    """Values that depend on nothing but the ledger, on SQLite.

    A value is kept with the state of the ledger before it was read. It is returned again only after that state is seen
    to be the same, for that very call: whoever reads after a change was acknowledged, here or by another process, sees
    the change. On PostgreSQL nobody can see that without a query, so there each call reads.
    """

    def __init__(self, unit_of_work: RequestUnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._kept: dict[AnyKey, _Kept[Value]] = {}

    async def read(
        self,
        key: AnyKey,
        query: Callable[[Session], tuple[Value, datetime]],
        *,
        urgent: bool = False,
        analyses: bool = False,
        is_kept: Callable[[Value], bool] = lambda _: True,
    ) -> Value:
        """Return a value: one that is kept, or what the query reads.

        Args:
            key: what the query depends on, besides the ledger.
            query: reads the value, and tells until when it is right without a change.
            urgent: see `UnitOfWork.read`.
            analyses: whether the query computes with what it reads, see `UnitOfWork.analyse`.
            is_kept: whether a value may be kept.
        """
        work, state = self._unit_of_work, self._unit_of_work.ledger.state()
        known = self._kept.get(key)
        if known is not None and known.state == state and datetime.now(UTC) < known.until:
            return known.value
        value, until = await (work.analyse(query) if analyses else work.read(query, urgent=urgent))
        if state is not None and is_kept(value):
            keep(self._kept, key, _Kept(state, until, value))
        return value


class AnswerCache:
    """Answers to requests that depend on nothing but the ledger; see `KeptReads`."""

    def __init__(self, unit_of_work: RequestUnitOfWork) -> None:
        self._kept = KeptReads[Key, Any](unit_of_work)

    async def read(self, request: Message, query: Callable[[Session], Answer], *, urgent: bool = False) -> Answer:
        """Return the answer to a request: one that is kept, or what the query reads.

        Args:
            request: the request, which with the client's identity decides what the query reads.
            query: reads the answer; it must not depend on the time.
            urgent: see `UnitOfWork.read`.
        """
        return await self.read_until(request, lambda session: (query(session), FOREVER), urgent=urgent)

    async def read_until(
        self,
        request: Message,
        query: Callable[[Session], tuple[Answer, datetime]],
        *,
        urgent: bool = False,
        analyses: bool = False,
    ) -> Answer:
        """Return an answer as `read` does, where the query also tells until when it is right without a change.

        Args:
            request, query, urgent: as for `read`.
            analyses: see `KeptReads.read`.
        """
        key = type(request).__name__, request.SerializeToString(deterministic=True), identity.current.get()
        answer: Answer = await self._kept.read(key, query, urgent=urgent, analyses=analyses, is_kept=is_small)
        return answer


def is_small(answer: Message) -> bool:
    """Return whether an answer may be kept: a version may have thousands of files, and clients may ask for any."""
    return answer.ByteSize() <= MAX_BYTES


def keep(kept: dict[AnyKey, Value], key: AnyKey, value: Value, most: int = MAX_ANSWERS) -> None:
    """Keep a value as the newest of at most so many."""
    kept.pop(key, None)
    if len(kept) == most:
        del kept[next(iter(kept))]  # The oldest one.
    kept[key] = value
