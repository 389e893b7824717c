"""The ledger: one SQL database, SQLite or PostgreSQL, that owns every truth of the registry."""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Executable, create_engine, event
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from modelward.errors import ConcurrentChange, FieldViolation, InvalidField, LimitReached, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
RETRIED = {"40001", "40P01"}
"""PostgreSQL's codes of a serialization failure and of a deadlock: the transaction is undone and may be tried again."""
DISK_FULL = "53100"
"""PostgreSQL's code of a disk without room."""
ALEMBIC_LOCK = threading.Lock()
"""Held during a migration, ours or MLflow's: Alembic keeps what it works on in globals."""
MIGRATION_LOCK = 0x6D6F64656C77
"""Which of PostgreSQL's advisory locks a migration holds: any number will do that nobody else takes."""
MIRROR_LOCK = MIGRATION_LOCK + 1
"""Which of them a server holds that shows a version in MLflow."""
BUSY_TIMEOUT_MS = 30_000
"""How long a SQLite writer waits for the one before it."""


class Ledger:
    """Opens transactions on the ledger's database.

    Args:
        url: an SQLAlchemy URL, as `sqlite:////var/lib/modelward/ledger.db` or `postgresql+psycopg://host/db`.
    """

    def __init__(self, url: str) -> None:
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        self.in_file = engine.dialect.name == "sqlite"
        if self.in_file:
            _prepare_sqlite(engine)
            self._readers = engine
            self._peeks = create_engine(url)  # Connections of its own: it must not wait until others give one back.
            _prepare_sqlite(self._peeks)
        else:
            # One snapshot for a whole read, as SQLite gives it by itself.
            self._readers = engine.execution_options(isolation_level="REPEATABLE READ")
            self._peeks = self._readers
        self._writers = engine.execution_options(writes=True)
        # In a file there is one writer at a time. Its own threads need not find out by asking again and again.
        self._turn: AbstractContextManager[object] = threading.Lock() if self.in_file else nullcontext()

    def migrate(self) -> None:
        """Bring the schema to this server's version."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with ALEMBIC_LOCK, self._writers.begin() as connection:
            if not self.in_file:  # A file has its write lock already; here several servers may start at once.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one consistent state and changes nothing."""
        with _answering(), Session(self._readers) as session:
            yield session

    def peek(self, statement: Executable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Read one row, without the cost of a session."""
        with _answering(), self._peeks.connect() as connection:
            row = connection.execute(statement, values).first()
        return None if row is None else tuple(row)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session whose changes are all committed at its end, or none when it raises."""
        with self._turn, _answering(), Session(self._writers) as session, session.begin():
            yield session

    @contextmanager
    def mirroring(self) -> Iterator[None]:
        """Be the only one, of all servers of this database and their threads, that shows a version in MLflow."""
        if self.in_file:
            with Path(f"{self._writers.url.database}-mirror.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # Until it is closed, also by the death of the process.
                yield
        else:
            with _answering(), self._writers.begin() as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIRROR_LOCK})")
                yield

    def close(self) -> None:
        self._readers.dispose()
        self._peeks.dispose()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DataError as error:  # PostgreSQL has no NUL character in texts.
        fix = f"has a value that the ledger's database cannot hold: {_short(error)}"
        raise InvalidField(FieldViolation("request", fix)) from error
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) in RETRIED:
            raise ConcurrentChange("two writers met; retry with the same request id") from error
        if _is_full(error.orig):
            message = "the disk of the ledger's database is full; make room there and ask again"
            raise LimitReached(message, limit="disk") from error
        raise StoreUnavailable(f"the ledger's database does not answer: {_short(error)}", store="ledger") from error


def _is_full(error: object) -> bool:
    return (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", None) == DISK_FULL
    )


def _short(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # The driver shall not begin transactions of its own.
        # WAL: readers never wait for the writer. FULL: what was acknowledged survives a power cut.
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: taken later, a reader that turns writer would fail instead of waiting.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
