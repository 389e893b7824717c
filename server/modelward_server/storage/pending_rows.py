"""Rows that a transaction inserts at its end: one statement inserts those of all the changes that share it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert
from sqlalchemy.orm import Session

PENDING = "pending_rows"
"""Key under which a session, which lives for one transaction, keeps them by statement."""

Row = Mapping[str, Any]


def insert_later(session: Session, statement: Insert, rows: Sequence[Row]) -> None:
    """Insert rows at the end of the transaction, or when `insert_pending` is called."""
    session.info.setdefault(PENDING, {}).setdefault(statement, []).extend(rows)


def pending(session: Session, statement: Insert) -> Sequence[Row]:
    """Return the rows that a statement will insert."""
    rows: Sequence[Row] = session.info.get(PENDING, {}).get(statement, ())
    return rows


def number_of_pending(session: Session) -> int:
    """Return how many rows the transaction is yet to insert."""
    return sum(map(len, session.info.get(PENDING, {}).values()))


def insert_pending(session: Session) -> None:
    """Insert the pending rows now: a query is going to read them, or the transaction is about to be committed."""
    session.flush()
    for statement, rows in session.info.pop(PENDING, {}).items():
        session.connection().execute(statement, rows)


def drop_pending(session: Session) -> None:
    """Forget the pending rows: their changes were rolled back."""
    session.info.pop(PENDING, None)
