"""The audit log: append-only, in commit order, each record carrying the hash of its predecessor."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from modelward.lifecycle import AuditDefect, AuditRecord, AuditVerification
from modelward.shared.record_hash import canonical, record_hash
from modelward_server.actor_context import ActorContext
from modelward_server.storage.audit_logging import log_after_commit
from modelward_server.storage.pending_rows import drop_pending, insert_later, insert_pending, pending
from modelward_server.storage.tables import AuditHeadRow, AuditRow

Payload = TypeVar("Payload")

_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)

GENESIS = "0" * 64
"""The `previous_hash` of the first record."""
HEAD = 1
HEAD_KEY = "audit_head"
"""Key under which a session, which lives for one transaction, keeps the head that it has locked."""
BATCH = 1000
MAX_DEFECTS = 100
"""Maximum number of defects that are reported."""


INSERT = insert(AuditRow)
LOCK_HEAD = select(AuditHeadRow.sequence, AuditHeadRow.hash).where(AuditHeadRow.id == HEAD).with_for_update()
SET_HEAD = update(AuditHeadRow).where(AuditHeadRow.id == HEAD)
TIME_OF = select(AuditRow.happened_at).where(AuditRow.sequence == bindparam("of"))


@dataclass
class _Head:
    """The head of the log, as a transaction that has locked it leaves it."""

    sequence: int
    hash: str
    last: datetime | None
    """The time of the newest record; None before the first."""


class Kind(StrEnum):
    """The type of a record."""

    MODEL = "model"
    REGISTERED = "registered"
    VERSION = "version"
    TRANSITION = "transition"
    HALTED = "halted"
    RESUMED = "resumed"
    POLICY = "policy"
    DRIFT_POLICY = "drift_policy"
    DRIFT_ALARM = "drift_alarm"
    PERFORMANCE_ALARM = "performance_alarm"
    SCHEDULE = "schedule"
    SCHEDULE_DELETED = "schedule_deleted"
    FIRING = "firing"
    JOB = "job"
    AB_TEST = "ab_test"
    AB_TEST_CONCLUDED = "ab_test_concluded"
    RETRAINING_POLICY = "retraining_policy"
    GRANT = "grant"
    INVENTORY = "inventory"
    LINEAGE = "lineage"
    APPROVAL = "approval"
    FINDING = "finding"
    REVIEW = "review"
    DRILL = "drill"


def append(session: Session, kind: Kind, model: str, payload: object, actor: ActorContext, version: int = 0) -> int:
    """Append a record in this transaction and return its sequence number.

    Args:
        payload: a dataclass that describes the state after the change.
    """
    append_all(session, kind, [(model, version, payload)], actor)
    return _locked_head(session).sequence


def append_all(session: Session, kind: Kind, about: Iterable[tuple[str, int, object]], actor: ActorContext) -> None:
    """Append records in this transaction, in order.

    Args:
        about: the model, the version or 0, and the payload of each.
    """
    session.flush()
    head = _locked_head(session)
    for model, version, payload in about:
        insert_later(session, INSERT, [_chained(head, kind, model, version, _recorded(payload), actor)])
        log_after_commit(session, payload)


def write_pending(session: Session) -> None:
    """Write the records and the other rows that a transaction has left for its end, and the head after them."""
    appended = pending(session, INSERT)
    insert_pending(session)
    if appended:
        session.connection().execute(SET_HEAD, {key: appended[-1][key] for key in ("sequence", "hash")})


def to_json(payload: object) -> dict[str, Any]:
    """Return the payload as the JSON of its audit record."""
    parsed: dict[str, Any] = json.loads(_recorded(payload))
    return parsed


def _recorded(payload: object) -> str:
    return canonical(_adapter(type(payload)).dump_python(payload, mode="json"))


def _chained(head: "_Head", kind: Kind, model: str, version: int, payload: str, actor: ActorContext) -> dict[str, Any]:
    """Return the record after the head, which moves on to it."""
    record = AuditRecord(
        sequence=head.sequence + 1,
        happened_at=actor.at,
        actor=actor.name,
        kind=kind,
        model=model,
        version=version,
        payload=payload,
        previous_hash=head.hash,
        hash="",
    )
    head.sequence, head.hash, head.last = record.sequence, record_hash(record), actor.at
    return vars(record) | {"hash": head.hash}


def lock_log(session: Session) -> datetime | None:
    """Wait for earlier writers, and block later ones until this transaction ends.

    Returns:
        The time of the newest record; None before the first.
    """
    return _locked_head(session).last


def begin_change(session: Session, actor: str) -> ActorContext:
    """Wait for earlier writers and only then read the clock, so that timestamps are in commit order.

    When the clock was set back, or that of another server is behind, the newest record's time is used until the clock
    has caught up with it.
    """
    last, now = lock_log(session), datetime.now(UTC)
    return ActorContext(actor, now if last is None else max(now, last))


def forget_pending(session: Session) -> None:
    """Forget the records that are not written, and the head: their changes were rolled back."""
    drop_pending(session)
    session.info.pop(HEAD_KEY, None)


def next_sequence(session: Session) -> int:
    """Return the sequence number of this transaction's next record; no other transaction can take it."""
    return _locked_head(session).sequence + 1


def payload_of(row: AuditRow, kind: type[Payload]) -> Payload:
    """Return the payload of a record as the dataclass that it was written from."""
    payload: Payload = _adapter(kind).validate_json(row.payload)
    return payload


def last_sequence(session: Session) -> int:
    """Return the sequence number of the newest record; 0 before the first."""
    if HEAD_KEY in session.info:
        return _locked_head(session).sequence
    return session.scalar(select(AuditHeadRow.sequence).where(AuditHeadRow.id == HEAD)) or 0


def read_after(session: Session, sequence: int, limit: int = BATCH) -> list[AuditRow]:
    """Return the records after `sequence`, in order."""
    write_pending(session)
    rows = select(AuditRow).where(AuditRow.sequence > sequence).order_by(AuditRow.sequence).limit(limit)
    return list(session.scalars(rows))


def records(session: Session, after: int, last: int) -> list[AuditRecord]:
    """Return the next records after a sequence number, up to `last`; 0 means no upper bound."""
    rows = read_after(session, after, min(BATCH, max(last - after, 0)) if last else BATCH)
    return list(map(to_record, rows))


def to_record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        sequence=row.sequence,
        happened_at=row.happened_at,
        actor=row.actor,
        kind=row.kind,
        model=row.model,
        version=row.version,
        payload=row.payload,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


def verify(
    session: Session,
    first: int = 0,
    last: int = 0,
    expected_hash: str = "",
    on_batch: Callable[[Sequence[AuditRow]], None] | None = None,
) -> AuditVerification:
    """Verify the hash chain: no record was changed, removed or moved.

    Args:
        first: the first sequence number to check; 0 means from the beginning.
        last: the last one; 0 means to the end, and then the log's head is checked too.
        expected_hash: hash of a record that must be among them; empty for none.
        on_batch: called with each batch of records, in order.
    """
    head = session.get_one(AuditHeadRow, HEAD)
    checker = _Checker(max(first, 1), _hash_before(session, first), expected_hash)
    for batch in _batches(session, max(first, 1) - 1, last):
        for row in batch:
            checker.check(row)
        if on_batch is not None:
            on_batch(batch)
        session.expunge_all()  # Keeps the memory bounded for a long log.
    if not last:
        checker.finish(head)
    defects = (*checker.missing_hash(), *checker.defects)
    return AuditVerification(
        checker.records, checker.hash, defects[:MAX_DEFECTS], checker.sequence, checker.expected_sequence
    )


class _Checker:
    """Checks a chain record by record."""

    def __init__(self, first: int, hash_before: str, expected_hash: str) -> None:
        self._expected = first
        self.hash = hash_before
        self.records = 0
        self.defects: list[AuditDefect] = []
        self._expected_hash = expected_hash
        self.expected_sequence = 0
        """Sequence number of the record with the expected hash; 0 until it was found."""

    @property
    def sequence(self) -> int:
        """Sequence number of the last checked record."""
        return self._expected - 1

    def missing_hash(self) -> Iterator[AuditDefect]:
        """Yield a defect when no record had the expected hash."""
        if self._expected_hash and not self.expected_sequence:
            why = "records were cut off or replaced, or it is the hash of another log"
            yield AuditDefect(0, f"missing: no record has the hash {self._expected_hash}; {why}")

    def check(self, row: AuditRow) -> None:
        if row.sequence != self._expected:
            missing = (
                f"{self._expected}" if row.sequence == self._expected + 1 else f"{self._expected} to {row.sequence - 1}"
            )
            self._add_defect(self._expected, f"missing: there is no record {missing}")
        if record_hash(row) != row.hash:
            self._add_defect(row.sequence, "changed: its content does not match its hash")
        elif row.sequence == self._expected and row.previous_hash != self.hash:
            self._add_defect(row.sequence, "out of order or replaced: it does not follow the record before it")
        self._expected, self.hash = row.sequence + 1, row.hash
        self.records += 1
        if row.hash == self._expected_hash:
            self.expected_sequence = row.sequence

    def finish(self, head: AuditHeadRow) -> None:
        if head.sequence != self._expected - 1:
            self._add_defect(self._expected, f"missing: the log goes up to {head.sequence}")
        elif head.hash != self.hash:
            self._add_defect(head.sequence, "replaced: the log's head has another hash")

    def _add_defect(self, sequence: int, problem: str) -> None:
        if len(self.defects) < MAX_DEFECTS:
            self.defects.append(AuditDefect(sequence, problem))


def _batches(session: Session, after: int, last: int) -> Iterator[list[AuditRow]]:
    while batch := [row for row in read_after(session, after) if not last or row.sequence <= last]:
        after = batch[-1].sequence
        yield batch


def _hash_before(session: Session, first: int) -> str:
    row = session.get(AuditRow, first - 1) if first > 1 else None
    return row.hash if row else GENESIS


def _locked_head(session: Session) -> "_Head":
    """Return the head, which this transaction locks: no other can change it."""
    if HEAD_KEY not in session.info:
        row = session.connection().execute(LOCK_HEAD).one()
        session.info[HEAD_KEY] = _Head(
            row.sequence, row.hash, session.connection().scalar(TIME_OF, {"of": row.sequence})
        )
    held: _Head = session.info[HEAD_KEY]
    return held
