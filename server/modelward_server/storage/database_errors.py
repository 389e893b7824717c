"""Translation of database errors: one table from drivers' codes to the errors that clients receive."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm.exc import StaleDataError

from modelward.errors import (
    ConcurrentChange,
    FieldViolation,
    InvalidField,
    LimitReached,
    ModelwardError,
    SchemaMismatch,
    StoreDamaged,
    StoreReadOnly,
    StoreUnavailable,
)

log = logging.getLogger(__name__)

DISK = "disk"
"""The name of the limit in errors about a full disk."""
READ_ONLY = "25006"
"""PostgreSQL's code for a write in a read-only transaction, as on a standby."""
VALUE_ERRORS = (OverflowError, UnicodeError)
"""Exceptions of drivers for a value that their database cannot store."""


def _conflict(words: str) -> ModelwardError:
    return ConcurrentChange(f"conflict with another writer ({words}); retry with the same request id")


def _bad_value(words: str) -> ModelwardError:
    return InvalidField(FieldViolation("request", f"has a value that the ledger's database cannot hold: {words}"))


def _constraint_violated(words: str) -> ModelwardError:
    return InvalidField(FieldViolation("request", f"would violate a constraint of the ledger's database: {words}"))


def _disk_full(words: str) -> ModelwardError:
    message = f"the disk of the ledger's database is full ({words}); free space there and retry"
    return LimitReached(message, limit=DISK)


def _out_of_memory(words: str) -> ModelwardError:
    return LimitReached(f"the ledger's database is out of memory ({words}); retry later", limit="memory")


def _over_limit(words: str) -> ModelwardError:
    return LimitReached(f"a limit of the ledger's database was reached: {words}", limit="database")


def _read_only(words: str) -> ModelwardError:
    message = f"the ledger's database is read-only: {words}; reads still work, and its operator must make it writable"
    return StoreReadOnly(message, store="ledger")


def _damaged(words: str) -> ModelwardError:
    message = f"the ledger's database is damaged: {words}; its operator must restore a backup"
    return StoreDamaged(message, store="ledger")


def _wrong_schema(words: str) -> ModelwardError:
    message = (
        f"the ledger's database does not have this server's tables: {words}; restart the server, which migrates it"
    )
    return SchemaMismatch(message, store="ledger")


def _unavailable(words: str) -> ModelwardError:
    return StoreUnavailable(f"the ledger's database does not answer: {words}", store="ledger")


ErrorFactory = Callable[[str], ModelwardError]

BY_SQLSTATE: dict[str, ErrorFactory] = {
    "08": _unavailable,
    "22": _bad_value,
    "23505": _conflict,  # unique_violation
    "23P01": _conflict,  # exclusion_violation
    "23": _constraint_violated,
    READ_ONLY: _read_only,
    "25P": _unavailable,  # A transaction was idle or open beyond its time limit.
    "28": _unavailable,
    "3D000": _unavailable,  # The database does not exist any more, or was renamed.
    "3F000": _wrong_schema,
    "40": _conflict,
    "42501": _read_only,  # insufficient_privilege
    "42P01": _wrong_schema,  # undefined_table
    "42703": _wrong_schema,  # undefined_column
    "53100": _disk_full,
    "53200": _out_of_memory,
    "53300": _unavailable,  # too_many_connections
    "53": _over_limit,
    "54": _bad_value,  # program_limit_exceeded, such as a row too large for an index
    "55": _unavailable,  # lock_not_available and others
    "57": _unavailable,  # A time limit, shutdown, crash or start.
    "58P": _damaged,  # A file is missing or exists twice.
    "58": _unavailable,
    "P0": _constraint_violated,  # Raised by a trigger of the operator.
    "XX001": _damaged,  # data_corrupted
    "XX002": _damaged,  # index_corrupted
    "XX": _unavailable,
}
"""PostgreSQL's codes or prefixes of them; the longest match applies."""

BY_SQLITE_CODE: dict[int, ErrorFactory] = {
    sqlite3.SQLITE_PERM: _read_only,
    sqlite3.SQLITE_NOMEM: _out_of_memory,
    sqlite3.SQLITE_READONLY: _read_only,
    sqlite3.SQLITE_READONLY_DBMOVED: _unavailable,
    sqlite3.SQLITE_IOERR_NOMEM: _out_of_memory,
    sqlite3.SQLITE_IOERR_SHMSIZE: _disk_full,
    sqlite3.SQLITE_IOERR_CORRUPTFS: _damaged,
    sqlite3.SQLITE_CORRUPT: _damaged,
    sqlite3.SQLITE_NOTADB: _damaged,
    sqlite3.SQLITE_FULL: _disk_full,
    sqlite3.SQLITE_TOOBIG: _bad_value,
    sqlite3.SQLITE_MISMATCH: _bad_value,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _conflict,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: _conflict,
    sqlite3.SQLITE_CONSTRAINT_ROWID: _conflict,
    sqlite3.SQLITE_CONSTRAINT: _constraint_violated,
    sqlite3.SQLITE_BUSY_SNAPSHOT: _conflict,
}
"""SQLite's codes; an extended code that is not listed is treated as its primary code."""
BY_MESSAGE: dict[tuple[str, ...], ErrorFactory] = {
    ("no such table", "no such column", "has no column named"): _wrong_schema,
    ("Could not decode to UTF-8",): _damaged,
    ("NUL (0x00)",): _bad_value,  # PostgreSQL text cannot contain this character.
}
"""Parts of messages of errors that have no specific code."""
UNAVAILABLE_ERRORS = (OperationalError, InterfaceError, InternalError)
"""Errors that, without a known code, mean that the database cannot be used now."""


def explain(error: SQLAlchemyError) -> ModelwardError | None:
    """Return the error to report to a client for an error of the ledger's database; None for a defect of the server."""
    if isinstance(error, PoolExhausted):
        return _unavailable("all connections to it are in use")
    if isinstance(error, StaleDataError):
        return _conflict("a row was changed or removed concurrently")
    if isinstance(error, StatementError):
        explained = _explain_statement(error)
        if isinstance(error, IntegrityError) and not isinstance(explained, ConcurrentChange):
            log.error("the ledger's database refused a change", exc_info=error)
        return explained
    return None


def _explain_statement(error: StatementError) -> ModelwardError | None:
    words = first_line(error)
    if not isinstance(error, DBAPIError):  # The value was refused before it reached the driver.
        return _bad_value(words) if isinstance(error.orig, VALUE_ERRORS) else None
    if make_error := _by_code(error.orig):
        return make_error(words)
    for parts, make_error in BY_MESSAGE.items():
        if any(part in words for part in parts):
            return make_error(words)
    if error.connection_invalidated or isinstance(error, UNAVAILABLE_ERRORS) or type(error) is DatabaseError:
        return _unavailable(words)
    return _constraint_violated(words) if isinstance(error, IntegrityError) else None


def _by_code(error: object) -> ErrorFactory | None:
    sqlstate = getattr(error, "sqlstate", None) or ""
    matches = (BY_SQLSTATE[sqlstate[:n]] for n in range(5, 1, -1) if sqlstate[:n] in BY_SQLSTATE)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return BY_SQLITE_CODE.get(code) or BY_SQLITE_CODE.get(code & 0xFF)
    return next(matches, None)


def first_line(error: StatementError) -> str:
    """Return the first line of the driver's message; neither the statement nor its values."""
    with suppress(IndexError):
        return str(error.orig).splitlines()[0]
    return type(error.orig).__name__
