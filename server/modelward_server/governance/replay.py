"""Holds what the tables say against the audit log: each row must stand as the last record about it says.

Of each row only the number of that record is kept while the log goes by, so memory grows with the rows, by some two
hundred bytes each, and not with the log. What a record says is read again when its row's turn comes.
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
MAX_SHOWN = 500
"""How many characters of a value are shown."""


_ASPECTS_OF: dict[str, list[int]] = {
    kind: [n for n, aspect in enumerate(ASPECTS) if kind in aspect.kinds] for kind in Kind
}


def verify(session: Session, first: int = 0, last: int = 0, expected_hash: str = "") -> AuditVerification:
    """Check the audit log, and when that is all of it, every row that it tells of.

    Args:
        first: the first record to check; 0 means from the beginning.
        last: the last one; 0 means to the end.
        expected_hash: of a record that must be among them, as it was told of before; empty for none.
    """
    if first > 1 or last:
        return audit.verify(session, first, last, expected_hash)
    replay = Replay(session)
    found = audit.verify(session, expected_hash=expected_hash, on_batch=replay.take)
    defects = [*found.defects, *_first(replay.defects(), MAX_DEFECTS - len(found.defects))]
    return replace(found, rows=replay.rows, defects=tuple(defects))


class Replay:
    """What the records that went by say of the rows."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: list[dict[Hashable, int]] = [{} for _ in ASPECTS]
        self._moves: list[AuditDefect] = []
        self.rows = 0
        """How many rows were held against the records."""

    def take(self, records: Sequence[AuditRow]) -> None:
        """Take the next records."""
        for record in records:
            for number in _ASPECTS_OF.get(record.kind, ()):
                self._note(ASPECTS[number], self._last[number], record)
        if records and len(self._moves) < MAX_DEFECTS:
            self._moves += self._check_moves(records)

    @staticmethod
    def _note(aspect: Aspect, last: dict[Hashable, int], record: AuditRow) -> None:
        try:
            key = aspect.key(record)
        except (KeyError, TypeError, ValueError):  # It was changed by hand, as its hash shows.
            return
        if record.kind not in aspect.weak or key not in last:
            last[key] = record.sequence

    def _check_moves(self, records: Sequence[AuditRow]) -> Iterator[AuditDefect]:
        """Hold the history of stages, whose rows have the numbers of their records, against these."""
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
        """Yield where the tables differ from the records."""
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
        """Hold a page of rows against the last records about them, which are forgotten then."""
        of_rows = {aspect.row_key(row): last.pop(aspect.row_key(row), 0) for row in page}
        records = self._records(of_rows.values())
        self.rows += len(page)
        for row in page:
            key = aspect.row_key(row)
            found = aspect.found(self._session, row)
            record = records.get(of_rows[key])
            expected = _said(aspect, record) if record is not None else aspect.without
            sequence = record.sequence if record is not None else 0
            yield from _differences(aspect.table, _spelled(key), sequence, expected, found)
            if isinstance(row, VersionRow) and aspect.kinds.keys() >= {Kind.VERSION}:
                yield from _check_digest(row, sequence)

    def _missing(self, aspect: Aspect, last: Mapping[Hashable, int]) -> Iterator[AuditDefect]:
        """Yield which rows are gone though no record says so."""
        if aspect.without is not None:
            return
        for key, sequence in last.items():
            record = self._session.get(AuditRow, sequence)
            if record is not None and _said(aspect, record) is not None:
                yield from _differences(aspect.table, _spelled(key), sequence, {}, None)

    def _records(self, sequences: Iterable[int]) -> dict[int, AuditRow]:
        rows = select(AuditRow).where(AuditRow.sequence.in_([sequence for sequence in sequences if sequence]))
        return {row.sequence: row for row in self._session.scalars(rows)}


def _said(aspect: Aspect, record: AuditRow) -> Fields | None:
    """Return what a record says; nothing when it was changed by hand so that it cannot be read."""
    try:
        return aspect.kinds[Kind(record.kind)](json.loads(record.payload))
    except (KeyError, TypeError, ValueError):
        return {}


def _move(record: AuditRow) -> Fields | None:
    """Return what the history of stages must say of a record; None when it is about something else."""
    if record.kind not in {Kind.TRANSITION, Kind.REGISTERED}:
        return None
    try:
        said: Fields = json.loads(record.payload)
        return said | {"sequence": record.sequence} if record.kind == Kind.TRANSITION else _registration(record, said)
    except (KeyError, TypeError, ValueError):  # It was changed by hand, as its hash shows.
        return {}


def _registration(record: AuditRow, said: Fields) -> Fields:
    return {
        "sequence": record.sequence,
        "version": {"model": record.model, "version": record.version},
        "from_stage": None,
        "to_stage": said["stage"],
        "actor": record.actor,
        "reason": "registered",
        "moved_at": said["created_at"],
        "displaced_by": 0,
    }


def _check_digest(row: VersionRow, sequence: int) -> Iterator[AuditDefect]:
    """Hold the digest of a version against its own files."""
    digest = manifest_digest(to_version(row).files)
    if digest != row.digest:
        key = str(VersionRef(row.model, row.version))
        yield from _differences(VersionRow, key, sequence, {"digest of files": row.digest}, {"digest of files": digest})


def _differences(
    table: type[Any], key: str, sequence: int, expected: Fields | None, found: Fields | None
) -> Iterator[AuditDefect]:
    """Yield in which fields a row differs from what is recorded of it."""
    name = table.__tablename__
    if expected is None and found is not None:
        yield AuditDefect(sequence, f"{name} {key}: no record tells of this row", name, key)
    elif found is None:
        yield AuditDefect(sequence, f"{name} {key}: the row is gone, and no record says so", name, key)
    else:
        for field, recorded in (expected or {}).items():
            if found.get(field) != recorded:
                ours, theirs = _shown(recorded), _shown(found.get(field))
                problem = f"{name} {key}: {field} is {theirs}, and {ours} by the records"
                yield AuditDefect(sequence, problem, name, key, field, ours, theirs)


def _spelled(key: Hashable) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _first(found: Iterator[AuditDefect], most: int) -> list[AuditDefect]:
    """Take the first ones, but go through all, so that every row is counted."""
    defects: list[AuditDefect] = []
    for defect in found:
        if len(defects) < most:
            defects.append(defect)
    return defects
