"""The log of scores in the ledger: which version answered which call, on what, and how it compares with an answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from modelward.comparison import ModelKind
from modelward.lifecycle import Page, Stage, VersionRef
from modelward.scoring import LoggedAnswer, ScoreRecord
from modelward.shared.table_digest import table_digest
from modelward_server.lifecycle.repository import check_exists
from modelward_server.sandbox.sandbox import Run
from modelward_server.storage.insert_new import insert_new
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.scoring_tables import ScoreRow

NEWEST_FIRST = Key(ScoreRow.scored_at, descending=True), Key(ScoreRow.sequence, descending=True)


@dataclass(frozen=True)
class ScoreFilter:
    """Which records are listed; an empty model or text, version 0 and None mean all.

    Attributes:
        after: the earliest time, inclusive.
        before: the latest time, exclusive.
    """

    ref: VersionRef
    request_id: str
    actor: str
    after: datetime | None
    before: datetime | None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield what a row must meet."""
        equal = {
            ScoreRow.model: self.ref.model,
            ScoreRow.version: self.ref.version,
            ScoreRow.request_id: self.request_id,
            ScoreRow.actor: self.actor,
        }
        yield from (column == value for column, value in equal.items() if value)
        if self.after:
            yield ScoreRow.scored_at >= self.after
        if self.before:
            yield ScoreRow.scored_at < self.before


def answer_digest(run: Run) -> str:
    """Return the SHA-256 of predictions and probabilities, as `ScoreRecord` in `scoring.proto` defines it."""
    predictions = {"prediction": run.predicted}
    if run.kind is ModelKind.CLASSIFICATION:
        predictions["prediction"] = run.class_indices
    if run.probabilities is not None:
        predictions |= {f"probability:{place}": values for place, values in enumerate(run.probabilities.T)}
    classes = [] if run.kind is ModelKind.REGRESSION else [{"class": _class_column(run.classes)}]
    return table_digest(*classes, predictions)


def _class_column(classes: Sequence[Any]) -> NDArray[Any]:
    return np.array(classes, object if isinstance(classes[0], str) else None)


def record_scores(session: Session, records: Sequence[ScoreRecord]) -> None:
    """Store records; one that is stored already is left out."""
    insert_new(session, ScoreRow, [_values(one) for one in records])


def _values(record: ScoreRecord) -> dict[str, Any]:
    """Return the values of a row by the names of its columns."""
    values = vars(record) | {"model": record.version.model, "version": record.version.version}
    values["row_count"] = values.pop("rows")
    return values | {"stage": str(record.stage), "libraries": list(record.libraries)}


def list_scores(session: Session, wanted: ScoreFilter, page_size: int, page_token: str) -> Page[ScoreRecord]:
    """Return a page of the log, the newest record first.

    Args:
        session: the transaction.
        wanted: which records.
        page_size: the number of records per page.
        page_token: the token of the page.

    Raises:
        ModelNotFound, VersionNotFound: the model or version does not exist.
    """
    check_exists(session, wanted.ref)
    rows = select(ScoreRow).where(*wanted.conditions())
    page = fetch_page(session, rows, NEWEST_FIRST, page_size, page_token, ("scores", wanted))
    return Page(tuple(map(_to_record, page.items)), page.next_page_token)


def _to_record(row: ScoreRow) -> ScoreRecord:
    return ScoreRecord(
        row.request_id,
        row.scored_at,
        row.actor,
        row.authenticated,
        VersionRef(row.model, row.version),
        row.digest,
        Stage(row.stage),
        row.method,
        row.rows,
        row.rows_sha256,
        row.answer_sha256,
        tuple(row.libraries),
        row.as_of,
        row.ab_test,
        row.unit,
        row.variant,
        row.error,
    )


def compared_with_log(session: Session, now: ScoreRecord, at: datetime) -> LoggedAnswer | None:
    """Compare an answer with what its version had answered at a past time.

    Args:
        session: the transaction.
        now: the answer as it would be logged.
        at: the past time.

    Returns:
        The comparison; None if no answer of the version at or before that time is logged.
    """
    of_version = _answers_until(now.version, at)
    same = session.scalars(of_version.where(ScoreRow.rows_sha256 == now.rows_sha256)).first()
    last = same or session.scalars(of_version).first()
    if last is None:
        return None
    changes = tuple(_changes(last.libraries, now.libraries))
    if same is None:
        return LoggedAnswer(library_changes=changes)
    return LoggedAnswer(same.request_id, same.scored_at, same.answer_sha256 == now.answer_sha256, changes)


def _answers_until(ref: VersionRef, at: datetime) -> Select[ScoreRow]:
    """Select what a version answered up to a time, the last answer first; not what it was asked about the past."""
    of_version = ScoreRow.model == ref.model, ScoreRow.version == ref.version
    live = ScoreRow.as_of.is_(None), ScoreRow.error == ""
    rows = select(ScoreRow).where(*of_version, *live, ScoreRow.scored_at <= at)
    return rows.order_by(*(key.ordering() for key in NEWEST_FIRST)).limit(1)


def _changes(then: Iterable[str], now: Iterable[str]) -> Iterator[str]:
    """Yield how libraries differ, such as "scikit-learn 1.5.0 then, 1.6.1 now"."""
    before, after = _releases(then), _releases(now)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'not used')} then, {after.get(name, 'not used')} now"


def _releases(libraries: Iterable[str]) -> dict[str, str]:
    """Return the release of each library by its name."""
    return {name: release for name, _, release in (text.rpartition(" ") for text in libraries)}
