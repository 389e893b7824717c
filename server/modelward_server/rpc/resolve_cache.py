"""Which version is meant, answered again without work while nothing changed.

An answer is kept with the state of the ledger that it was read from. It is given again only after a look at the ledger,
made for that very call, finds the same state: so whoever asks after a change was acknowledged, here or by another
server, is told of it.
"""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, literal, select
from sqlalchemy.orm import Session

from modelward.shared.convert.lifecycle import version_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.resolve import resolve
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.rpc.requests import optional_time, selector
from modelward_server.storage.audit import HEAD
from modelward_server.storage.tables import AuditHeadRow, VersionRow

ANSWERS_KEPT = 1_000

# The log's last hash stands for all that was ever recorded; what MLflow calls a version is noted without a record.
STATE = (
    select(AuditHeadRow.hash, VersionRow.run_id, VersionRow.mlflow_version)
    .join(VersionRow, literal(True))
    .where(AuditHeadRow.id == HEAD, VersionRow.model == bindparam("model"), VersionRow.version == bindparam("version"))
)


class Kept(NamedTuple):
    """An answer, and the state of the ledger that it holds for."""

    answer: pb.ResolveModelResponse
    state: tuple[Any, ...]


class Resolver:
    """Says which version is meant."""

    def __init__(self, unit_of_work: RequestUnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._kept: dict[bytes, Kept] = {}

    async def resolve(self, request: pb.ResolveModelRequest) -> pb.ResolveModelResponse:
        """Answer as `modelward_server.lifecycle.resolve` does."""
        asked = request.SerializeToString(deterministic=True)
        kept = self._kept.get(asked)
        if kept and await self._unit_of_work.fetch_one(STATE, _place(kept.answer)) == kept.state:
            return kept.answer
        found = await self._unit_of_work.read(lambda session: _read(session, request), urgent=True)
        if not request.HasField("as_of"):
            self._keep(asked, found)
        return found.answer

    def _keep(self, asked: bytes, found: Kept) -> None:
        self._kept.pop(asked, None)
        if len(self._kept) == ANSWERS_KEPT:
            del self._kept[next(iter(self._kept))]  # The one that was read longest ago.
        self._kept[asked] = found


def _read(session: Session, request: pb.ResolveModelRequest) -> Kept:
    found = resolve(session, request.model, selector(request), optional_time(request, "as_of"))
    answer = pb.ResolveModelResponse(version=version_to_proto(found.version), sequence=found.sequence)
    return Kept(answer, tuple(session.execute(STATE, _place(answer)).one()))


def _place(answer: pb.ResolveModelResponse) -> dict[str, str | int]:
    return {"model": answer.version.model, "version": answer.version.version}
