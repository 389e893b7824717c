"""Insertion of rows of which some may be there already."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session


def insert_new(session: Session, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose key is in the table already is left out.

    Args:
        session: the transaction.
        table: a table, or the class that is mapped to it.
        rows: the values of each row by the names of its columns.
    """
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    session.connection().execute(insert(table).on_conflict_do_nothing(), rows)
