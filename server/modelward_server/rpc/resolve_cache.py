"""Cached resolution of versions, served without further reads while nothing changed.

On PostgreSQL an answer is cached with the state of the ledger that it was read from. It is served again only after a
read of the ledger, made for that very call, returns the same state: so a client that resolves after a change was
acknowledged, here or by another server, gets the new version. On SQLite the cache of answers does that without a read.
"""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, literal, select
from sqlalchemy.orm import Session

from modelward.shared.convert.lifecycle import version_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.resolve import resolve
from modelward_server.rpc.answer_cache import AnswerCache, is_small, keep
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.rpc.requests import optional_time, selector
from modelward_server.storage.audit import HEAD
from modelward_server.storage.tables import AuditHeadRow, VersionRow

# The log's last hash covers everything recorded; a version's names in MLflow and its trial are stored without a record.
STATE = (
    select(
        AuditHeadRow.hash,
        VersionRow.run_id,
        VersionRow.mlflow_version,
        VersionRow.trial_result,
        VersionRow.trial_reason,
        VersionRow.tried_at,
    )
    .join(VersionRow, literal(True))
    .where(AuditHeadRow.id == HEAD, VersionRow.model == bindparam("model"), VersionRow.version == bindparam("version"))
)


class CachedAnswer(NamedTuple):
    """An answer, and the state of the ledger for which it is valid."""

    answer: pb.ResolveModelResponse
    state: tuple[Any, ...]


class Resolver:
    """Resolves versions, with a cache."""

    def __init__(self, unit_of_work: RequestUnitOfWork, answers: AnswerCache) -> None:
        self._unit_of_work = unit_of_work
        self._answers = answers
        self._cache: dict[bytes, CachedAnswer] = {}

    async def resolve(self, request: pb.ResolveModelRequest) -> pb.ResolveModelResponse:
        """Resolve a request; see `modelward_server.lifecycle.resolve`."""
        if self._unit_of_work.ledger.is_sqlite:
            return await self._answers.read(request, lambda session: _answer(session, request), urgent=True)
        key = request.SerializeToString(deterministic=True)
        cached = self._cache.get(key)
        if cached and await self._unit_of_work.fetch_one(STATE, _parameters(cached.answer)) == cached.state:
            return cached.answer
        fresh = await self._unit_of_work.read(lambda session: _read(session, request), urgent=True)
        if not request.HasField("as_of") and is_small(fresh.answer):
            keep(self._cache, key, fresh)
        return fresh.answer


def _answer(session: Session, request: pb.ResolveModelRequest) -> pb.ResolveModelResponse:
    resolved = resolve(session, request.model, selector(request), optional_time(request, "as_of"))
    return pb.ResolveModelResponse(version=version_to_proto(resolved.version), sequence=resolved.sequence)


def _read(session: Session, request: pb.ResolveModelRequest) -> CachedAnswer:
    answer = _answer(session, request)
    return CachedAnswer(answer, tuple(session.execute(STATE, _parameters(answer)).one()))


def _parameters(answer: pb.ResolveModelResponse) -> dict[str, str | int]:
    return {"model": answer.version.model, "version": answer.version.version}
