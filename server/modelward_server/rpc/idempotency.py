"""Run each request once: a transaction that records the answer under the request id, and returns it on a retry."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, RequestIdReused
from modelward.shared.retry import ACTOR_HEADER, actor_in
from modelward.v1.lifecycle_pb2 import RegisterModelVersionRequest
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.identity import Identity
from modelward_server.runtime.cancellation import CancellationToken
from modelward_server.security.scope import names_only_visible
from modelward_server.storage import audit
from modelward_server.storage.pending_rows import insert_later, pending
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.retention import EXPIRED, check_not_expired, expired
from modelward_server.storage.tables import RequestRow
from modelward_server.storage.unit_of_work import UnitOfWork

LARGE_REQUEST_BYTES = 64 << 10
"""Size from which a request is hashed in a thread, not on the event loop."""

RECORD = insert(RequestRow)
FIND = select(RequestRow.request_id, RequestRow.owner, RequestRow.digest, RequestRow.answer_type, RequestRow.answer)
FIND = FIND.where(RequestRow.request_id == bindparam("given"))

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Prepared = TypeVar("Prepared")
Answer = TypeVar("Answer", bound=Message)


class Mutation(Protocol):
    """A request for a change; most have a `request_id`."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...
    def ByteSize(self) -> int: ...


class RequestUnitOfWork(UnitOfWork):
    """Runs the changes that requests ask for, once for each request id."""

    async def run_idempotent(
        self,
        request: Mutation,
        context: Context,
        change: Callable[[Session, ActorContext], Answer],
        *,
        urgent: bool = False,
        recorded: bool = True,
    ) -> Answer:
        """Run a change in one transaction with the record of its request id.

        A repeated request id gets the recorded answer, also after a restart. When the client goes away or its deadline
        passes before the commit, the change is rolled back.

        Args:
            change: may run more than once when it conflicts with other writers; only the last run counts.
            urgent: whether it stops losses: it has an executor of its own, and may use a full disk's reserve.
            recorded: whether the answer is recorded; not needed for a change that does nothing the second time, which
                clients could otherwise repeat under new ids to fill the disk.

        Raises:
            RequestIdReused: the id was used before with another request.
            ConcurrentChange: it conflicted with other writers each time.
        """
        actor = actor_of(context)
        key = await self._key(request) if recorded else NO_KEY
        with CancellationToken() as token:
            change_once = token.guard(
                lambda session: _run_once(session, key, change, audit.begin_change(session, actor))
            )
            result: Answer = await self._commit(change_once, urgent=urgent)
        self._on_write()
        return result

    async def run_idempotent_prepared(
        self,
        request: Mutation,
        context: Context,
        prepare: Callable[[Session], Prepared],
        change: Callable[[Session, ActorContext, Prepared], Answer],
        *,
        at_first: Sequence[Prepared] = (),
        dry_run: bool = False,
    ) -> Answer:
        """Run a change as `run_idempotent` or `dry_run` does, after preparing it outside the write transaction.

        Args:
            prepare, change, at_first: as for `run_prepared_as_system`.

        Raises:
            See `run_idempotent`.
        """
        run, key = self.dry_run if dry_run else self.run_idempotent, await self._key(request)

        def unless_answered(session: Session) -> list[Prepared]:
            return [prepare(session)] if _recorded_answer(session, key) is None else []

        def changed(session: Session, caller: ActorContext, prepared: list[Prepared]) -> Answer:
            if not prepared:  # The answer that was recorded a moment ago has been deleted since.
                raise Outdated
            return change(session, caller, prepared[0])

        return await self._prepared(
            unless_answered,
            lambda prepared: run(request, context, lambda session, caller: changed(session, caller, prepared)),
            [[one] for one in at_first],
        )

    async def recorded_answer(self, request: Mutation) -> Any:
        """Return the answer recorded under the request id, or None; for changes that need long work beforehand.

        Raises:
            RequestIdReused: the id was used before with another request.
        """
        key = await self._key(request)
        return await self.read(lambda session: _recorded_answer(session, key))

    async def dry_run(
        self,
        request: Mutation,
        context: Context,
        change: Callable[[Session, ActorContext], Answer],
        *,
        urgent: bool = False,
    ) -> Answer:
        """Run a change, return the answer it would give, and roll it back."""
        actor = actor_of(context)

        def rolled_back(session: Session) -> Answer:
            result = change(session, audit.begin_change(session, actor))
            session.rollback()
            return result

        run = partial(self._write, alone=True)  # It ends its transaction.
        return await (self.executors.urgent if urgent else self._writes).run(run, rolled_back)

    async def _key(self, request: Mutation) -> "_RequestKey":
        """Return the request's id and digest; a large request is hashed in a thread."""
        if request.ByteSize() < LARGE_REQUEST_BYTES:
            return _RequestKey(request)
        return await self.executors.compute.run(_RequestKey, request)


def actor_of(context: Context) -> str:
    """Return the actor of a call: from its credential, or else the name that it sends, or else its address.

    Raises:
        InvalidField: the name is longer than 256 characters.
    """
    if client := identity.current.get():
        return client.name
    actor = actor_in(dict(context.invocation_metadata() or ())) or context.peer()
    if len(actor) > 256:
        raise InvalidField(FieldViolation(ACTOR_HEADER, "must have 256 characters at most"))
    return actor


class _RequestKey:
    """A request's id, with the digest and the sender that a retry must share."""

    def __init__(self, request: Mutation | None) -> None:
        given = getattr(request, "request_id", "")
        self.request_id = str(UUID(given)) if given else ""
        self.digest = _digest(request) if request is not None and given else ""
        self.client = identity.current.get()


NO_KEY = _RequestKey(None)


def _run_once(
    session: Session, key: _RequestKey, change: Callable[[Session, ActorContext], Answer], actor: ActorContext
) -> Answer:
    given: Answer | None = _recorded_answer(session, key)
    if given is not None:
        return given
    answer = change(session, actor)
    if key.request_id:
        recorded = {
            "request_id": key.request_id,
            "owner": key.client.name if key.client else "",
            "digest": key.digest,
            "answer_type": answer.DESCRIPTOR.full_name,
            "answer": answer.SerializeToString(),
            "answered_at": actor.at,
        }
        insert_later(session, RECORD, [recorded])
    return answer


def _recorded_answer(session: Session, key: _RequestKey) -> Any:
    if not key.request_id:
        return None
    row = _recorded_row(session, key.request_id)
    if row is None:
        check_not_expired(session, key.request_id)
        return None
    return _same_answer(row, key.digest, key.client)


def _recorded_row(session: Session, request_id: str) -> Any:
    for row in pending(session, RECORD):
        if row["request_id"] == request_id:
            return SimpleNamespace(**row)
    return session.connection().execute(FIND, {"given": request_id}).one_or_none()


def _digest(request: Mutation) -> str:
    """Return the SHA-256 of the request's type and content."""
    content = _repeated(request).SerializeToString(deterministic=True)
    return hashlib.sha256(type(request).__name__.encode() + b"\0" + content).hexdigest()


def _repeated(request: Mutation) -> Mutation:
    """Return the part of a request that a retry must repeat: not what its client found by itself, maybe elsewhere."""
    if isinstance(request, RegisterModelVersionRequest) and request.HasField("collected_lineage"):
        given = RegisterModelVersionRequest()
        given.CopyFrom(request)
        given.ClearField("collected_lineage")
        return given
    return request


def _same_answer(row: Any, digest: str, client: Identity | None) -> Any:
    """Return the recorded answer to the client that it was given to, if it may still reach the models in it."""
    if row.digest != digest or row.owner != (client.name if client else ""):
        raise _reused(row)
    if row.answer_type == EXPIRED:
        raise expired(row.request_id)
    answer = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(row.answer_type)).FromString(row.answer)
    if client and not names_only_visible(answer, client):
        raise _reused(row)
    return answer


def _reused(row: Any) -> RequestIdReused:
    return RequestIdReused(
        f"the request id {row.request_id} was used before with another request, or by another client; "
        "use a new one for each call",
        request_id=row.request_id,
    )
