"""The ledger's SQLite file: connection settings, and detection of a file that was moved or replaced."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

from modelward.errors import StoreUnavailable

BUSY_SECONDS = 30
"""Maximum wait of a writer for the one before it."""

FileId = tuple[int, int]
"""The device and the inode of a file."""


class LedgerFile:
    """Checks that connections use the file at the database's path.

    A connection keeps using a file that was moved or removed, and a new one creates an empty file in its place. Neither
    is the ledger.
    """

    def __init__(self, url: URL) -> None:
        named = url.database if url.database not in {None, "", ":memory:"} and "uri" not in url.query else None
        self.path = None if named is None else Path(str(named))
        self._known = False

    def prepare(self, engine: Engine) -> None:
        """Configure an engine's connections, and let them be used only while the file at the path is theirs."""
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "checkout", self._on_checkout)

    def _connect(self, _dialect: object, _record: object, _args: object, options: dict[str, Any]) -> Any:
        """Connect to a file that is known without creating it, should it vanish at this moment; None: as usual.

        Raises:
            StoreUnavailable: it is gone.
        """
        if not self._known:
            return None
        self.file_id()
        try:
            return self.connect(**options)
        except sqlite3.OperationalError:
            self.file_id()
            raise

    def connect(self, **options: Any) -> sqlite3.Connection | None:
        """Connect to the file that is at the path, and create none; None if the database is not a file."""
        if self.path is None:
            return None
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **options)
        return connection

    def _on_connect(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # The driver must not begin transactions of its own.
        # WAL: readers never wait for the writer. FULL: acknowledged changes survive a power cut.
        busy = f"busy_timeout={BUSY_SECONDS * 1000}"
        for pragma in (busy, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        record.info["file_id"], self._known = self.file_id(), True

    def _on_checkout(self, _connection: object, record: Any, _proxy: object) -> None:
        if record.info.get("file_id") != self.file_id():
            raise DisconnectionError("another file is at the path of the ledger's")

    def file_id(self) -> FileId | None:
        """Return the identity of the file at the ledger's path.

        Raises:
            StoreUnavailable: there is none.
        """
        if self.path is None:
            return None
        try:
            status = self.path.stat()
        except FileNotFoundError:
            message = f"the ledger's database does not answer: its file {self.path} is gone; put it back"
            raise StoreUnavailable(message, store="ledger") from None
        return status.st_dev, status.st_ino


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read transaction later would fail instead of waiting.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
