"""Verify the tables against the audit log: each row must have the state of the last record about it.

Only the number of that record is held for each row while the log is read, so memory grows with the number of rows, by
about two hundred bytes each, and not with the log. The content of a record is read again when its row is checked.
"""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.lifecycle import AuditDefect, AuditVerification, VersionRef
from modelward.shared.manifest import manifest_digest
from modelward_server.governance.aspects import ASPECTS, Aspect, Fields
from modelward_server.lifecycle.repository import to_transition, to_version
from modelward_server.storage import audit
from modelward_server.storage.audit import MAX_DEFECTS, Kind, to_json
from modelward_server.storage.tables import AuditRow, TransitionRow, VersionRow

PAGE = 500
MAX_VALUE_CHARACTERS = 500
"""Maximum number of characters of a value in a defect."""


_ASPECTS_OF: dict[str, list[int]] = {
    kind: [n for n, aspect in enumerate(ASPECTS) if kind in aspect.kinds] for kind in Kind
}


def verify(session: Session, first: int = 0, last: int = 0, expected_hash: str = "") -> AuditVerification:
    """Verify the audit log and, if the whole log is verified, every row that it covers.

    Args:
        session: the transaction.
        first: the first record to verify; 0 means from the beginning.
        last: the last one; 0 means to the end.
        expected_hash: the hash of a record that must be among them, from an earlier verification; empty for none.
    """
    if first > 1 or last:
        return audit.verify(session, first, last, expected_hash)
    replay = Replay(session)
    found = audit.verify(session, expected_hash=expected_hash, on_batch=replay.add)
    defects = [*found.defects, *_first(replay.defects(), MAX_DEFECTS - len(found.defects))]
    return replace(found, rows=replay.rows, defects=tuple(defects))


class Replay:
    """Collects the last record about each row, and compares rows with them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: list[dict[Hashable, int]] = [{} for _ in ASPECTS]
        self._moves: list[AuditDefect] = []
        self.rows = 0
        """The number of rows that were compared with the records."""

    def add(self, records: Sequence[AuditRow]) -> None:
        """Add the next records."""
        for record in records:
            for number in _ASPECTS_OF.get(record.kind, ()):
                self._record_last(ASPECTS[number], self._last[number], record)
        if records and len(self._moves) < MAX_DEFECTS:
            self._moves += self._check_moves(records)

    @staticmethod
    def _record_last(aspect: Aspect, last: dict[Hashable, int], record: AuditRow) -> None:
        try:
            key = aspect.key(record)
        except (KeyError, TypeError, ValueError):  # It was modified directly, as its hash shows.
            return
        if record.kind not in aspect.weak or key not in last:
            last[key] = record.sequence

    def _check_moves(self, records: Sequence[AuditRow]) -> Iterator[AuditDefect]:
        """Compare the stage transitions, whose rows have the numbers of their records, with these records."""
        between = TransitionRow.sequence.between(records[0].sequence, records[-1].sequence)
        rows = {row.sequence: row for row in self._session.scalars(select(TransitionRow).where(between))}
        self.rows += len(rows)
        for record in records:
            row = rows.pop(record.sequence, None)
            expected = _move(record)
            if expected is not None or row is not None:
                found = None if row is None else to_json(to_transition(row))
                yield from _differences(TransitionRow, str(record.sequence), record.sequence, expected, found)
        for sequence, row in rows.items():
            yield from _differences(TransitionRow, str(sequence), sequence, None, to_json(to_transition(row)))

    def defects(self) -> Iterator[AuditDefect]:
        """Yield the differences between the tables and the records."""
        yield from self._moves
        beyond = select(TransitionRow).where(TransitionRow.sequence > audit.last_sequence(self._session)).limit(PAGE)
        for row in self._session.scalars(beyond):
            yield from _differences(TransitionRow, str(row.sequence), row.sequence, None, to_json(to_transition(row)))
        for aspect, last in zip(ASPECTS, self._last, strict=True):
            for page in self._pages(aspect.table):
                yield from self._check(aspect, last, page)
            yield from self._missing(aspect, last)

    def _pages(self, table: type[Any]) -> Iterator[Sequence[Any]]:
        rows = select(table).order_by(*table.__table__.primary_key.columns).execution_options(yield_per=PAGE)
        yield from self._session.scalars(rows).partitions()

    def _check(self, aspect: Aspect, last: dict[Hashable, int], page: Sequence[Any]) -> Iterator[AuditDefect]:
        """Compare a page of rows with the last records about them, and discard the numbers of those records."""
        of_rows = {aspect.row_key(row): last.pop(aspect.row_key(row), 0) for row in page}
        records = self._records(of_rows.values())
        self.rows += len(page)
        for row in page:
            key = aspect.row_key(row)
            found = aspect.row_fields(self._session, row)
            record = records.get(of_rows[key])
            expected = _recorded_fields(aspect, record) if record is not None else aspect.default
            sequence = record.sequence if record is not None else 0
            yield from _differences(aspect.table, _key_text(key), sequence, expected, found)
            if isinstance(row, VersionRow) and aspect.kinds.keys() >= {Kind.VERSION}:
                yield from _check_digest(row, sequence)

    def _missing(self, aspect: Aspect, last: Mapping[Hashable, int]) -> Iterator[AuditDefect]:
        """Yield the rows that are missing although no record states that they were deleted."""
        if aspect.default is not None:
            return
        for key, sequence in last.items():
            record = self._session.get(AuditRow, sequence)
            if record is not None and _recorded_fields(aspect, record) is not None:
                yield from _differences(aspect.table, _key_text(key), sequence, {}, None)

    def _records(self, sequences: Iterable[int]) -> dict[int, AuditRow]:
        rows = select(AuditRow).where(AuditRow.sequence.in_([sequence for sequence in sequences if sequence]))
        return {row.sequence: row for row in self._session.scalars(rows)}


def _recorded_fields(aspect: Aspect, record: AuditRow) -> Fields | None:
    """Return the fields of a record; empty if it was modified directly and cannot be read."""
    try:
        return aspect.kinds[Kind(record.kind)](json.loads(record.payload))
    except (KeyError, TypeError, ValueError):
        return {}


def _move(record: AuditRow) -> Fields | None:
    """Return the expected stage transition of a record; None if the record is of another kind."""
    if record.kind not in {Kind.TRANSITION, Kind.REGISTERED}:
        return None
    try:
        payload: Fields = json.loads(record.payload)
        return (
            payload | {"sequence": record.sequence}
            if record.kind == Kind.TRANSITION
            else _registration(record, payload)
        )
    except (KeyError, TypeError, ValueError):  # It was modified directly, as its hash shows.
        return {}


def _registration(record: AuditRow, payload: Fields) -> Fields:
    return {
        "sequence": record.sequence,
        "version": {"model": record.model, "version": record.version},
        "from_stage": None,
        "to_stage": payload["stage"],
        "actor": record.actor,
        "reason": "registered",
        "moved_at": payload["created_at"],
        "displaced_by": 0,
    }


def _check_digest(row: VersionRow, sequence: int) -> Iterator[AuditDefect]:
    """Compare the digest of a version with its files."""
    digest = manifest_digest(to_version(row).files)
    if digest != row.digest:
        key = str(VersionRef(row.model, row.version))
        yield from _differences(VersionRow, key, sequence, {"digest of files": row.digest}, {"digest of files": digest})


def _differences(
    table: type[Any], key: str, sequence: int, expected: Fields | None, found: Fields | None
) -> Iterator[AuditDefect]:
    """Yield the fields in which a row differs from its record."""
    name = table.__tablename__
    if expected is None and found is not None:
        yield AuditDefect(sequence, f"{name} {key}: no record describes this row", name, key)
    elif found is None:
        yield AuditDefect(
            sequence, f"{name} {key}: the row is missing, but no record states that it was deleted", name, key
        )
    else:
        for field, recorded in (expected or {}).items():
            if found.get(field) != recorded:
                recorded_text, stored_text = _value_text(recorded), _value_text(found.get(field))
                problem = f"{name} {key}: {field} is {stored_text}, but {recorded_text} in the records"
                yield AuditDefect(sequence, problem, name, key, field, recorded_text, stored_text)


def _key_text(key: Hashable) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _value_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"


def _first(found: Iterator[AuditDefect], most: int) -> list[AuditDefect]:
    """Return the first defects, but iterate over all of them, so that every row is counted."""
    defects: list[AuditDefect] = []
    for defect in found:
        if len(defects) < most:
            defects.append(defect)
    return defects
