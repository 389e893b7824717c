"""Rows of live monitoring for comparisons: those of windows that are not compared yet, and those kept of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, literal, select, union_all
from sqlalchemy.orm import Session

from modelward.lifecycle import VersionRef
from modelward_server.storage.monitoring_tables import ObservedRowsRow, ReplayRowsRow
from modelward_server.storage.outcome_tables import OutcomeRow

MAX_IDS = 10_000
"""Maximum number of ids in one query."""
MOVED = ("model", "version", "reference", "sender", "window", "seen_at", "ids", "arrow_ipc")
ORDER = ("seen_at", "version", "reference", "sender", "window", "id")
"""The order in which rows were seen; the rest makes it the same each time."""


@dataclass(frozen=True)
class SeenRows:
    """Rows that were seen together: which version saw them, when, their ids, and where the rows are stored."""

    version: VersionRef
    seen_at: datetime
    ids: bytes | None
    table: Select[bytes]


def keep(session: Session, window: list[Any]) -> None:
    """Copy the rows of a window, which are deleted in the same transaction, to those that are kept.

    Args:
        window: the conditions on the stored rows.
    """
    old = ObservedRowsRow.__table__.c
    size = func.length(old.arrow_ipc) + func.coalesce(func.length(old.ids), 0)
    rows = select(*(old[name] for name in MOVED), size).where(*window).order_by(old.id)
    session.connection().execute(insert(ReplayRowsRow).from_select([*MOVED, "size"], rows))


def seen_rows(session: Session, model: str, version: int, since: datetime) -> Iterator[SeenRows]:
    """Yield the rows that the versions of a model, or one of them, have seen since a time, in that order.

    Args:
        version: 0 for all versions.
    """
    found = union_all(*(_places(table, model, version, since) for table in (ObservedRowsRow, ReplayRowsRow)))
    for row in session.execute(found.order_by(*ORDER)).all():
        table = ReplayRowsRow if row.is_kept else ObservedRowsRow
        ids = session.scalar(select(table.ids).where(table.id == row.id))
        yield SeenRows(VersionRef(model, row.version), row.seen_at, ids, select(table.table).where(table.id == row.id))


def _places(table: type[ObservedRowsRow | ReplayRowsRow], model: str, version: int, since: datetime) -> Select[Any]:
    columns = (getattr(table, name) for name in ORDER)
    of_version = (table.version == version,) if version else ()
    is_kept = literal(table is ReplayRowsRow).label("is_kept")
    return select(*columns, is_kept).where(table.model == model, *of_version, table.seen_at >= since)


def labels_of(session: Session, version: VersionRef, ids: list[str]) -> dict[str, float]:
    """Return the labels that were recorded for predictions of a version, by their ids."""
    of_version = (OutcomeRow.model == version.model, OutcomeRow.version == version.version)
    known = select(OutcomeRow.prediction_id, OutcomeRow.label).where(*of_version, OutcomeRow.label.is_not(None))
    labels: dict[str, float] = {}
    for start in range(0, len(ids), MAX_IDS):
        part = OutcomeRow.prediction_id.in_(ids[start : start + MAX_IDS])
        labels |= {row.prediction_id: row.label for row in session.execute(known.where(part))}
    return labels
