"""How a servicer reaches the ledger: in a thread, in one transaction, and a repeated request only once."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from sqlalchemy import Executable
from sqlalchemy.orm import Session

from modelward.errors import ConcurrentChange, FieldViolation, InvalidField, RequestIdReused
from modelward.shared.retry import ACTOR_HEADER, actor_in
from modelward_server import identity
from modelward_server.actor_context import Caller
from modelward_server.identity import Identity
from modelward_server.interceptors.deadlines import Wanted
from modelward_server.runtime.best_effort import harmless
from modelward_server.runtime.executors import Executors
from modelward_server.runtime.tracing import span
from modelward_server.security.scope import names_only_own
from modelward_server.storage import audit
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.retention import FORGOTTEN, check_not_forgotten, forgotten
from modelward_server.storage.tables import RequestRow

ATTEMPTS = 5
"""How often a transaction is tried that met another writer's."""
LARGE_REQUEST_BYTES = 64 << 10
"""From which size on a request is not hashed on the event loop."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Value = TypeVar("Value")
Prepared = TypeVar("Prepared")
Answer = TypeVar("Answer", bound=Message)


class Mutation(Protocol):
    """A request that changes something; most have a `request_id`."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...
    def ByteSize(self) -> int: ...


class Calls:
    """Runs service functions against the ledger.

    Args:
        executors: the threads for this and for a servicer's other work.
        on_write: called after each change that was committed.
        background: whether it is the server's own work, which must not stand behind that of clients.
    """

    def __init__(
        self, ledger: Ledger, executors: Executors, on_write: Callable[[], None], *, background: bool = False
    ) -> None:
        self._ledger = ledger
        self.executors = executors
        self._reads = executors.background if background else executors.reads
        self._writes = executors.background if background else executors.writes
        self._analyses = executors.background if background else executors.compute
        self._on_write = harmless(on_write)  # What was committed is no failure of the call.

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    async def read(self, query: Callable[[Session], Value], *, urgent: bool = False) -> Value:
        """Run a function that only reads; `urgent` ones do not stand behind others."""
        return await (self.executors.urgent if urgent else self._reads).run(self._read, query)

    async def analyse(self, query: Callable[[Session], Value]) -> Value:
        """Run a function that reads much, or computes with what it reads."""
        return await self._analyses.run(self._read, query)

    async def peek(self, statement: Executable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Read one row by its key; in a file that costs less than the way to a thread and back."""
        if self._ledger.in_file:
            return self._ledger.peek(statement, values)
        return await self.executors.urgent.run(self._ledger.peek, statement, values)

    async def write(
        self,
        request: Mutation,
        context: Context,
        change: Callable[[Session, Caller], Answer],
        *,
        urgent: bool = False,
    ) -> Answer:
        """Run a function that changes the ledger, in one transaction with the memory of its request id.

        A request id that was seen before gets the answer that it got then, also after a restart. When the caller
        leaves, or its deadline passes, what is not committed by then is undone.

        Args:
            change: may run more than once when it meets other writers; only the last run counts.
            urgent: whether it stops losses: it stands behind no other calls, and may use a full disk's reserve.

        Raises:
            RequestIdReused: the id came before with another request.
            ConcurrentChange: others were faster, again and again.
        """
        actor = actor_of(context)
        asked = await self._asked(request)
        with Wanted() as wanted:
            change_once = wanted.still(lambda session: _once(session, asked, change, audit.in_turn(session, actor)))
            executor = self.executors.urgent if urgent else self._writes
            run = self._write_urgently if urgent else self._write
            result: Answer = await executor.run(run, change_once)
        self._on_write()
        return result

    async def write_prepared(
        self,
        request: Mutation,
        context: Context,
        prepare: Callable[[Session], Prepared],
        change: Callable[[Session, Caller, Prepared], Answer],
        *,
        at_first: Sequence[Prepared] = (),
        dry_run: bool = False,
    ) -> Answer:
        """Write as `write` does, or `rehearse`, what takes long to work out, which is done before others wait for it.

        Args:
            prepare: reads, in a session of its own, and works out what the change needs.
            change: checks that it still holds; when it raises `Outdated`, both run again.
            at_first: what to try with before anything is prepared, where that is often enough.

        Raises:
            as `write`.
        """
        run, asked = self.rehearse if dry_run else self.write, await self._asked(request)

        def unless_known(session: Session) -> list[Prepared]:
            return [prepare(session)] if _remembered(session, asked) is None else []

        def changed(session: Session, caller: Caller, prepared: list[Prepared]) -> Answer:
            if not prepared:  # The answer that was remembered a moment ago is forgotten by now.
                raise Outdated
            return change(session, caller, prepared[0])

        return await self._prepared(
            unless_known,
            lambda prepared: run(request, context, lambda session, caller: changed(session, caller, prepared)),
            [[one] for one in at_first],
        )

    async def act_prepared(
        self,
        actor: str,
        prepare: Callable[[Session], Prepared],
        change: Callable[[Session, Caller, Prepared], Value],
        *,
        at_first: Sequence[Prepared] = (),
    ) -> Value:
        """Run a change that the server makes by itself, prepared as `write_prepared` has it.

        Raises:
            as `act`.
        """
        return await self._prepared(
            prepare,
            lambda prepared: self.act(actor, lambda session, caller: change(session, caller, prepared)),
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
        for _ in range(ATTEMPTS):
            prepared = await self.analyse(prepare)
            with suppress(Outdated):
                return await run(prepared)
        raise ConcurrentChange("what this rests on changed again and again; retry with the same request id")

    async def _asked(self, request: Mutation) -> "_Asked":
        """Return what stands for a request; one of megabytes is hashed where nobody waits for it."""
        if request.ByteSize() < LARGE_REQUEST_BYTES:
            return _Asked(request)
        return await self.executors.compute.run(_Asked, request)

    async def act(self, actor: str, change: Callable[[Session, Caller], Value]) -> Value:
        """Run a change that the server makes by itself, in one transaction.

        Args:
            actor: who the record is to name.
            change: may run more than once when it meets other writers; only the last run counts.

        Raises:
            ConcurrentChange: others were faster, again and again.
        """
        result: Value = await self._writes.run(
            self._write, lambda session: change(session, audit.in_turn(session, actor))
        )
        self._on_write()
        return result

    async def remembered(self, request: Mutation) -> Any:
        """Return the answer that the request id was given before, or None.

        For a change that is long in the making, to ask before the work begins.

        Raises:
            RequestIdReused: the id came before with another request.
        """
        asked = await self._asked(request)
        return await self.read(lambda session: _remembered(session, asked))

    async def rehearse(
        self,
        request: Mutation,
        context: Context,
        change: Callable[[Session, Caller], Answer],
        *,
        urgent: bool = False,
    ) -> Answer:
        """Run a function that changes the ledger, return what it would answer, and change nothing."""
        actor = actor_of(context)

        def undone(session: Session) -> Answer:
            result = change(session, audit.in_turn(session, actor))
            session.rollback()
            return result

        return await (self.executors.urgent if urgent else self._writes).run(self._write, undone)

    def _read(self, query: Callable[[Session], Value]) -> Value:
        with span("ledger read"), self._ledger.reading() as session:
            return query(session)

    def _write(self, change: Callable[[Session], Value]) -> Value:
        for _ in range(ATTEMPTS - 1):
            with suppress(ConcurrentChange):
                return self._write_once(change)
        return self._write_once(change)

    def _write_urgently(self, change: Callable[[Session], Value]) -> Value:
        return self._ledger.urgently(lambda: self._write(change))

    def _write_once(self, change: Callable[[Session], Value]) -> Value:
        with span("ledger write"), self._ledger.writing() as session:
            return change(session)


def actor_of(context: Context) -> str:
    """Return who asks: as its credential says, or else what it says of itself, or else where it calls from.

    Raises:
        InvalidField: the name is longer than 256 characters.
    """
    if who := identity.current.get():
        return who.name
    actor = actor_in(dict(context.invocation_metadata() or ())) or context.peer()
    if len(actor) > 256:
        raise InvalidField(FieldViolation(ACTOR_HEADER, "must have 256 characters at most"))
    return actor


class _Asked:
    """A request as its id stands for it."""

    def __init__(self, request: Mutation) -> None:
        given = getattr(request, "request_id", "")
        self.request_id = str(UUID(given)) if given else ""
        self.digest = _digest(request) if given else ""
        self.who = identity.current.get()


def _once(session: Session, asked: _Asked, change: Callable[[Session, Caller], Answer], caller: Caller) -> Answer:
    known: Answer | None = _remembered(session, asked)
    if known is not None:
        return known
    answer = change(session, caller)
    if asked.request_id:
        session.add(
            RequestRow(
                request_id=asked.request_id,
                owner=asked.who.name if asked.who else "",
                digest=asked.digest,
                answer_type=answer.DESCRIPTOR.full_name,
                answer=answer.SerializeToString(),
                answered_at=caller.at,
            )
        )
    return answer


def _remembered(session: Session, asked: _Asked) -> Any:
    if not asked.request_id:
        return None
    seen = session.get(RequestRow, asked.request_id)
    if seen is None:
        check_not_forgotten(session, asked.request_id)
        return None
    return _same_answer(seen, asked.digest, asked.who)


def _digest(request: Mutation) -> str:
    """Return the SHA-256 of the request's kind and content."""
    content = request.SerializeToString(deterministic=True)
    return hashlib.sha256(type(request).__name__.encode() + b"\0" + content).hexdigest()


def _same_answer(seen: RequestRow, digest: str, who: Identity | None) -> Any:
    """Return the answer that was given, to whoever it was given to, of models that they may still reach."""
    if seen.digest != digest or seen.owner != (who.name if who else ""):
        raise _reused(seen)
    if seen.answer_type == FORGOTTEN:
        raise forgotten(seen.request_id)
    answer = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(seen.answer_type)).FromString(seen.answer)
    if who and not names_only_own(answer, who):
        raise _reused(seen)
    return answer


def _reused(seen: RequestRow) -> RequestIdReused:
    return RequestIdReused(
        f"the request id {seen.request_id} came before with another request, or from somebody else; "
        "make a new one for each call",
        request_id=seen.request_id,
    )
