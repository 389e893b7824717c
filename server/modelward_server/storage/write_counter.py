"""Tells whether a change has written anything in its transaction yet."""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from modelward_server.storage.pending_rows import number_of_pending

WRITES = "writes"
"""Key under which a connection keeps the number of statements that may have written."""
READS = ("SELECT", "BEGIN")
"""What statements begin with that write nothing."""

Writes = tuple[int, int]
"""The number of statements that may have written, and of rows that are yet to be inserted."""


def count_writes(engine: Engine) -> None:
    """Count the statements of an engine's connections that may write."""
    event.listen(engine, "after_cursor_execute", _count)


def writes(session: Session) -> Writes:
    """Return a value that differs once the transaction has written more."""
    session.flush()
    return session.connection().info.get(WRITES, 0), number_of_pending(session)


def _count(connection: Connection, _cursor: object, statement: str, *_: Any) -> None:
    if not statement.startswith(READS):
        connection.info[WRITES] = connection.info.get(WRITES, 0) + 1
