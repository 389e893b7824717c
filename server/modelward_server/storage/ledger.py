"""The ledger: the SQL database, SQLite or PostgreSQL, that is the source of truth of the registry."""

import fcntl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, ExceptionContext, Executable, NullPool, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from modelward import __version__
from modelward.errors import LimitReached, SchemaMismatch, StoreUnavailable
from modelward_server.storage import audit
from modelward_server.storage.audit_logging import log_committed
from modelward_server.storage.commit_counter import CommitCounter, State
from modelward_server.storage.database_errors import DISK, READ_ONLY, VALUE_ERRORS, explain
from modelward_server.storage.disk_reserve import DiskReserve
from modelward_server.storage.group_commit import GroupCommit
from modelward_server.storage.private_files import make_private_file
from modelward_server.storage.sqlite import BUSY_SECONDS, LedgerFile
from modelward_server.storage.write_counter import count_writes

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_TABLE = "ledger_schema"
"""Table with the version of the schema: MLflow, in the same database, owns Alembic's default table."""
ALEMBIC_LOCK = threading.Lock()
"""Held during a migration, ours or MLflow's: Alembic keeps its state in globals."""
MIGRATION_LOCK = 0x6D6F64656C77
"""PostgreSQL advisory lock held during a migration: any number that no other application uses."""
MIRROR_LOCK = MIGRATION_LOCK + 1
"""PostgreSQL advisory lock held by the server that writes a version to MLflow."""
MIRROR_SECONDS = 600
"""Maximum time that it may be held."""
THREADS = 32
"""Default number of threads that use a ledger at once."""
MORE_CONNECTIONS = 8
"""Connections in addition to one for each thread: a mirror holds two, and background tasks have their own."""
POOL_SECONDS = 5
"""Maximum time that a thread waits for a connection."""

Value = TypeVar("Value")


def is_sqlite(url: str) -> bool:
    """Return whether a ledger is an SQLite file, which accepts one writer at a time."""
    return make_url(url).get_backend_name() == "sqlite"


class Ledger:
    """Opens transactions on the ledger's database.

    Args:
        url: an SQLAlchemy URL such as `sqlite:////var/lib/modelward/ledger.db` or `postgresql+psycopg://host/db`.
        threads: the number of threads that use it at once.
    """

    def __init__(self, url: str, threads: int = THREADS) -> None:
        self._url = make_url(url)
        self.is_sqlite = is_sqlite(url)
        self._file = LedgerFile(self._url) if self.is_sqlite else None
        path = self._file.path if self._file else None
        self._reserve = None if path is None else DiskReserve(path.with_name(f"{path.name}-reserve"))
        self._counter = CommitCounter(self._file) if self._file else None
        engine = self._engine(threads)
        if self.is_sqlite:
            make_private_file(Path(engine.url.database or ""))
            self._readers = engine
        else:
            # One snapshot for a whole read, which SQLite provides by default.
            self._readers = engine.execution_options(isolation_level="REPEATABLE READ")
        self._writers = engine.execution_options(writes=True)
        # An SQLite file has one writer at a time. A lock saves this process's threads from polling for it.
        self._lock = threading.RLock() if self.is_sqlite else None
        turn = self._lock or threading.RLock()
        self.group = GroupCommit(self.writing, lambda: _acquired(turn))
        """Runs changes that wait at the same time together; `commit` uses it."""

    @property
    def url(self) -> str:
        """The database's URL, including the password."""
        return self._url.render_as_string(hide_password=False)

    def _engine(self, threads: int) -> Engine:
        size = {"pool_size": threads, "max_overflow": MORE_CONNECTIONS, "pool_timeout": POOL_SECONDS}
        engine = create_engine(self._url, pool_pre_ping=not self.is_sqlite, **size)
        if self._file:
            self._file.prepare(engine)
        else:
            from modelward_server.storage.postgres import limit_waits

            limit_waits(engine)
        event.listen(engine, "handle_error", _on_error)
        count_writes(engine)
        return engine

    def _migration_engine(self) -> Engine:
        """Return an engine whose statements have no time limit."""
        engine = create_engine(self._url, poolclass=NullPool)
        if self._file:
            self._file.prepare(engine)
        else:
            from modelward_server.storage.postgres import limit_connection_waits

            limit_connection_waits(engine)
        return engine.execution_options(writes=True)

    def migrate(self) -> None:
        """Upgrade the schema to this server's version.

        Raises:
            SchemaMismatch: a newer server has migrated it.
            StoreUnavailable, StoreDamaged, StoreReadOnly, LimitReached: the database cannot be used.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with ALEMBIC_LOCK, _translated_errors(), self._migration_engine().begin() as connection:
            if not self.is_sqlite:  # SQLite has its write lock; on PostgreSQL several servers may start at once.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            _check_known(connection, ScriptDirectory.from_config(config))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if self._reserve:
            self._reserve.refill()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a read-only session that sees one consistent snapshot."""
        with _translated_errors(), Session(self._readers) as session:
            yield session

    def fetch_one(self, statement: Executable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Read one row, without the cost of a session."""
        with _translated_errors(), self._readers.connect() as connection:
            row = connection.execute(statement, values).first()
        return None if row is None else tuple(row)

    def state(self) -> State | None:
        """Return a value that differs after each commit by anybody; None where it cannot be told at once."""
        return self._counter.state() if self._counter else None

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session whose changes are committed together at its end, or rolled back when it raises."""
        with self._write_lock(), _translated_errors(), Session(self._writers) as session, session.begin():
            yield session
            if session.in_transaction():  # Otherwise it was rolled back on purpose.
                audit.write_pending(session)
        log_committed(session)
        if self._reserve:
            self._reserve.refill()

    def commit(self, change: Callable[[Session], Value], *, alone: bool = False) -> Value:
        """Run a change in a transaction, which it may share with others that wait at the same time.

        Args:
            change: runs in a savepoint of the transaction, and possibly again in one of its own.
            alone: whether the transaction is its own, which it may then end itself.

        Raises:
            ConcurrentChange: it conflicted with another writer. Other exceptions of the change propagate.
        """
        return self.group.alone(change) if alone else self.group.run(change)

    def run_with_reserve(self, change: Callable[[], Value]) -> Value:
        """Run a change that must not fail for lack of space: on a full disk it may use the reserve.

        Args:
            change: writes to this ledger; runs again with each released step of the reserve until that suffices.

        Raises:
            LimitReached: the disk is full, and so small that the reserve is used up; or PostgreSQL's disk is full.
        """
        try:
            return change()
        except LimitReached as full:
            if self._reserve is None or full.metadata.get("limit") != DISK:
                raise
            with self._write_lock():  # No other change may take the released space.
                return self._use_reserve(self._reserve, change, full)

    def _use_reserve(self, reserve: DiskReserve, change: Callable[[], Value], full: LimitReached) -> Value:
        released = 0
        while step := reserve.release():
            released += step
            try:
                value = change()
            except LimitReached as still_full:
                full = still_full
            else:
                reserve.fill(released)
                return value
        raise full

    def _write_lock(self) -> AbstractContextManager[object]:
        return nullcontext() if self._lock is None else _acquired(self._lock)

    @contextmanager
    def mirror_lock(self) -> Iterator[None]:
        """Hold the lock under which a version is written to MLflow, exclusive among all servers of this database."""
        if self.is_sqlite:
            with Path(f"{self._writers.url.database}-mirror.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # Released when it is closed, also when the process dies.
                yield
        else:
            with _translated_errors(), self._writers.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{MIRROR_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIRROR_LOCK})")
                yield

    def close(self) -> None:
        if self._counter:
            self._counter.close()
        self._readers.dispose()


def _check_known(connection: Connection, script: ScriptDirectory) -> None:
    """Refuse a schema of a newer server.

    Raises:
        SchemaMismatch: with the found version and the newest known one.
    """
    heads = MigrationContext.configure(connection, opts={"version_table": SCHEMA_TABLE}).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    if unknown := sorted(set(heads) - known):
        raise SchemaMismatch(
            f"the ledger's schema is {', '.join(unknown)}, created by a newer server; modelward {__version__} "
            f"supports schemas up to {script.get_current_head()}: start the newer server, or restore an older backup",
            store="ledger",
        )


@contextmanager
def _acquired(lock: threading.RLock) -> Iterator[None]:
    """Hold a lock; the wait for it is bounded.

    Raises:
        StoreUnavailable: its holder did not release it in time.
    """
    if not lock.acquire(timeout=BUSY_SECONDS):
        message = f"the ledger's database does not answer: another change has not ended for {BUSY_SECONDS} seconds"
        raise StoreUnavailable(message, store="ledger")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate errors of the database; those that indicate a defect of the server propagate unchanged."""
    try:
        yield
    except SQLAlchemyError as error:
        explained = explain(error)
        if explained is None:
            raise
        raise explained from error


def _on_error(context: ExceptionContext) -> StatementError | None:
    """Classify an error of a statement when it occurs."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True  # Another machine may be the primary now; a new connection finds it.
    if isinstance(context.original_exception, VALUE_ERRORS):
        return StatementError(str(context.original_exception), context.statement, None, context.original_exception)
    return None
