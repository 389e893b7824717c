"""What a database's error means: one table from drivers' codes to the errors that callers are told."""

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
"""What a full disk is called where a limit is named."""
READ_ONLY = "25006"
"""PostgreSQL's code of a transaction that may not write, as on a standby."""
VALUE_ERRORS = (OverflowError, UnicodeError)
"""What drivers raise for a value that their database cannot hold."""


def _conflict(words: str) -> ModelwardError:
    return ConcurrentChange(f"two writers met ({words}); retry with the same request id")


def _bad_value(words: str) -> ModelwardError:
    return InvalidField(FieldViolation("request", f"has a value that the ledger's database cannot hold: {words}"))


def _broken_rule(words: str) -> ModelwardError:
    return InvalidField(FieldViolation("request", f"would break a rule of the ledger's database: {words}"))


def _disk_full(words: str) -> ModelwardError:
    message = f"the disk of the ledger's database is full ({words}); make room there and ask again"
    return LimitReached(message, limit=DISK)


def _out_of_memory(words: str) -> ModelwardError:
    return LimitReached(f"the ledger's database has no memory left ({words}); ask again later", limit="memory")


def _over_limit(words: str) -> ModelwardError:
    return LimitReached(f"a limit of the ledger's database was reached: {words}", limit="database")


def _read_only(words: str) -> ModelwardError:
    message = f"the ledger's database takes no changes: {words}; reads go on, and its operator must make it writable"
    return StoreReadOnly(message, store="ledger")


def _damaged(words: str) -> ModelwardError:
    message = f"the ledger's database is damaged: {words}; its operator must restore a backup"
    return StoreDamaged(message, store="ledger")


def _wrong_schema(words: str) -> ModelwardError:
    message = (
        f"the ledger's database does not have this server's tables: {words}; start the server anew, which migrates"
    )
    return SchemaMismatch(message, store="ledger")


def _away(words: str) -> ModelwardError:
    return StoreUnavailable(f"the ledger's database does not answer: {words}", store="ledger")


Told = Callable[[str], ModelwardError]

BY_SQLSTATE: dict[str, Told] = {
    "08": _away,
    "22": _bad_value,
    "23505": _conflict,  # unique_violation
    "23P01": _conflict,  # exclusion_violation
    "23": _broken_rule,
    READ_ONLY: _read_only,
    "25P": _away,  # A transaction was idle, or open, for longer than it may be.
    "28": _away,
    "3D000": _away,  # The database is gone, or renamed.
    "3F000": _wrong_schema,
    "40": _conflict,
    "42501": _read_only,  # insufficient_privilege
    "42P01": _wrong_schema,  # undefined_table
    "42703": _wrong_schema,  # undefined_column
    "53100": _disk_full,
    "53200": _out_of_memory,
    "53300": _away,  # too_many_connections
    "53": _over_limit,
    "54": _bad_value,  # program_limit_exceeded, as a row too large for an index
    "55": _away,  # lock_not_available and others
    "57": _away,  # A time limit, a shutdown, a crash, a start.
    "58P": _damaged,  # A file is missing or exists twice.
    "58": _away,
    "P0": _broken_rule,  # What a trigger of the operator's says.
    "XX001": _damaged,  # data_corrupted
    "XX002": _damaged,  # index_corrupted
    "XX": _away,
}
"""PostgreSQL's codes, or the beginnings of their names; the longest that fits counts."""

BY_SQLITE_CODE: dict[int, Told] = {
    sqlite3.SQLITE_PERM: _read_only,
    sqlite3.SQLITE_NOMEM: _out_of_memory,
    sqlite3.SQLITE_READONLY: _read_only,
    sqlite3.SQLITE_READONLY_DBMOVED: _away,
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
    sqlite3.SQLITE_CONSTRAINT: _broken_rule,
    sqlite3.SQLITE_BUSY_SNAPSHOT: _conflict,
}
"""SQLite's codes; an extended one that is not here counts as the code that it extends."""
BY_WORDS: dict[tuple[str, ...], Told] = {
    ("no such table", "no such column", "has no column named"): _wrong_schema,
    ("Could not decode to UTF-8",): _damaged,
    ("NUL (0x00)",): _bad_value,  # PostgreSQL has no such character in texts.
}
"""What is said of errors that have no code of their own."""
UNREACHED = (OperationalError, InterfaceError, InternalError)
"""Kinds of errors that, without a code that is known, mean a database that cannot be used now."""


def explain(error: SQLAlchemyError) -> ModelwardError | None:
    """Return what a caller is told of an error of the ledger's database; None for a defect of the server."""
    if isinstance(error, PoolExhausted):
        return _away("all connections to it are in use")
    if isinstance(error, StaleDataError):
        return _conflict("a row was changed or removed meanwhile")
    if isinstance(error, StatementError):
        told = _explain_statement(error)
        if isinstance(error, IntegrityError) and not isinstance(told, ConcurrentChange):
            log.error("the ledger's database refused a change", exc_info=error)
        return told
    return None


def _explain_statement(error: StatementError) -> ModelwardError | None:
    words = first_words(error)
    if not isinstance(error, DBAPIError):  # A value did not even reach the driver.
        return _bad_value(words) if isinstance(error.orig, VALUE_ERRORS) else None
    if found := _by_code(error.orig):
        return found(words)
    for parts, kind in BY_WORDS.items():
        if any(part in words for part in parts):
            return kind(words)
    if error.connection_invalidated or isinstance(error, UNREACHED) or type(error) is DatabaseError:
        return _away(words)
    return _broken_rule(words) if isinstance(error, IntegrityError) else None


def _by_code(error: object) -> Told | None:
    sqlstate = getattr(error, "sqlstate", None) or ""
    fitting = (BY_SQLSTATE[sqlstate[:n]] for n in range(5, 1, -1) if sqlstate[:n] in BY_SQLSTATE)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return BY_SQLITE_CODE.get(code) or BY_SQLITE_CODE.get(code & 0xFF)
    return next(fitting, None)


def first_words(error: StatementError) -> str:
    """Return the first line of what the driver said; neither the statement nor its values."""
    with suppress(IndexError):
        return str(error.orig).splitlines()[0]
    return type(error.orig).__name__
