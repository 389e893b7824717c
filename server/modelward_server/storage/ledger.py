"""The ledger: one SQL database, SQLite or PostgreSQL, that owns every truth of the registry."""

import fcntl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, ExceptionContext, Executable, NullPool, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from modelward.errors import LimitReached, SchemaMismatch, StoreUnavailable
from modelward_server.storage.database_errors import DISK, READ_ONLY, VALUE_ERRORS, explain
from modelward_server.storage.disk_reserve import Reserve
from modelward_server.storage.private_files import make_private_file
from modelward_server.storage.sqlite import BUSY_SECONDS, LedgerFile

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_TABLE = "ledger_schema"
"""Where the version of the schema is kept: MLflow, in the same database, owns Alembic's own table."""
ALEMBIC_LOCK = threading.Lock()
"""Held during a migration, ours or MLflow's: Alembic keeps what it works on in globals."""
MIGRATION_LOCK = 0x6D6F64656C77
"""Which of PostgreSQL's advisory locks a migration holds: any number will do that nobody else takes."""
MIRROR_LOCK = MIGRATION_LOCK + 1
"""Which of them a server holds that shows a version in MLflow."""
MIRROR_SECONDS = 600
"""How long it may hold that one."""
THREADS = 32
"""How many threads use a ledger at once, unless it is told."""
MORE_CONNECTIONS = 8
"""Beyond one for each thread: a mirror holds two, and background tasks have theirs."""
POOL_SECONDS = 5
"""How long a thread waits for a connection, should there be too few."""

Value = TypeVar("Value")


def is_in_file(url: str) -> bool:
    """Tell whether a ledger is a file, which takes one writer at a time."""
    return make_url(url).get_backend_name() == "sqlite"


class Ledger:
    """Opens transactions on the ledger's database.

    Args:
        url: an SQLAlchemy URL, as `sqlite:////var/lib/modelward/ledger.db` or `postgresql+psycopg://host/db`.
        threads: how many threads use it at once.
    """

    def __init__(self, url: str, threads: int = THREADS) -> None:
        self._url = make_url(url)
        self.in_file = is_in_file(url)
        self._file = LedgerFile(self._url) if self.in_file else None
        path = self._file.path if self._file else None
        self._reserve = None if path is None else Reserve(path.with_name(f"{path.name}-reserve"))
        engine = self._engine(threads)
        if self.in_file:
            make_private_file(Path(engine.url.database or ""))
            self._readers = engine
            self._peeks = self._engine(threads)  # Connections of its own: it must not wait until others give one back.
        else:
            # One snapshot for a whole read, as SQLite gives it by itself.
            self._readers = engine.execution_options(isolation_level="REPEATABLE READ")
            self._peeks = self._readers
        self._writers = engine.execution_options(writes=True)
        # In a file there is one writer at a time. Its own threads need not find out by asking again and again.
        self._lock = threading.RLock() if self.in_file else None

    @property
    def url(self) -> str:
        """Where the database is, with the password."""
        return self._url.render_as_string(hide_password=False)

    def _engine(self, threads: int) -> Engine:
        size = {"pool_size": threads, "max_overflow": MORE_CONNECTIONS, "pool_timeout": POOL_SECONDS}
        engine = create_engine(self._url, pool_pre_ping=not self.in_file, **size)
        if self._file:
            self._file.prepare(engine)
        else:
            from modelward_server.storage.postgres import bound_waits

            bound_waits(engine)
        event.listen(engine, "handle_error", _on_error)
        return engine

    def _migrating(self) -> Engine:
        """Return an engine whose statements may take as long as they do."""
        engine = create_engine(self._url, poolclass=NullPool)
        if self._file:
            self._file.prepare(engine)
        else:
            from modelward_server.storage.postgres import bound_way

            bound_way(engine)
        return engine.execution_options(writes=True)

    def migrate(self) -> None:
        """Bring the schema to this server's version.

        Raises:
            SchemaMismatch: a newer server has migrated it.
            StoreUnavailable, StoreDamaged, StoreReadOnly, LimitReached: the database cannot be used.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with ALEMBIC_LOCK, _answering(), self._migrating().begin() as connection:
            if not self.in_file:  # A file has its write lock already; here several servers may start at once.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            _check_known(connection, ScriptDirectory.from_config(config))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if self._reserve:
            self._reserve.refill()

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
        with self._turn(), _answering(), Session(self._writers) as session, session.begin():
            yield session
        if self._reserve:
            self._reserve.refill()

    def urgently(self, change: Callable[[], Value]) -> Value:
        """Run a change that must not fail for want of room: on a full disk it may use the reserve.

        Args:
            change: writes to this ledger; runs again with each step of the reserve until that suffices.

        Raises:
            LimitReached: the disk is full, and so small that the reserve is used up; or PostgreSQL's is.
        """
        try:
            return change()
        except LimitReached as full:
            if self._reserve is None or full.metadata.get("limit") != DISK:
                raise
            with self._turn():  # No other change shall take what is given back.
                return self._with_reserve(self._reserve, change, full)

    def _with_reserve(self, reserve: Reserve, change: Callable[[], Value], full: LimitReached) -> Value:
        given = 0
        while step := reserve.release():
            given += step
            try:
                value = change()
            except LimitReached as still:
                full = still
            else:
                reserve.take(given)
                return value
        raise full

    def _turn(self) -> AbstractContextManager[object]:
        return nullcontext() if self._lock is None else _held(self._lock)

    @contextmanager
    def mirroring(self) -> Iterator[None]:
        """Be the only one, of all servers of this database and their threads, that shows a version in MLflow."""
        if self.in_file:
            with Path(f"{self._writers.url.database}-mirror.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # Until it is closed, also by the death of the process.
                yield
        else:
            with _answering(), self._writers.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{MIRROR_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIRROR_LOCK})")
                yield

    def close(self) -> None:
        self._readers.dispose()
        self._peeks.dispose()


def _check_known(connection: Connection, script: ScriptDirectory) -> None:
    """Refuse a schema that only a newer server knows.

    Raises:
        SchemaMismatch: naming what is there and what is known.
    """
    found = MigrationContext.configure(connection, opts={"version_table": SCHEMA_TABLE}).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    if unknown := sorted(set(found) - known):
        raise SchemaMismatch(
            f"the ledger's schema is {', '.join(unknown)}, made by a newer server; modelward {version('modelward')} "
            f"knows schemas up to {script.get_current_head()}: start the newer one, or restore a backup from before",
            store="ledger",
        )


@contextmanager
def _held(lock: threading.RLock) -> Iterator[None]:
    """Hold a lock, for which nobody waits for ever.

    Raises:
        StoreUnavailable: its holder did not give it back.
    """
    if not lock.acquire(timeout=BUSY_SECONDS):
        message = f"the ledger's database does not answer: another change has not ended for {BUSY_SECONDS} seconds"
        raise StoreUnavailable(message, store="ledger")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _answering() -> Iterator[None]:
    """Turn every error of the database into what it is; what is a defect of the server stays as it was."""
    try:
        yield
    except SQLAlchemyError as error:
        told = explain(error)
        if told is None:
            raise
        raise told from error


def _on_error(context: ExceptionContext) -> StatementError | None:
    """Look at an error of a statement when it happens."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True  # The primary may be elsewhere now, which a new connection finds out.
    if isinstance(context.original_exception, VALUE_ERRORS):
        return StatementError(str(context.original_exception), context.statement, None, context.original_exception)
    return None
