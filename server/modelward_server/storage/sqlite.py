"""The ledger's file: how SQLite is told to keep it, and what happens when somebody takes it away."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

from modelward.errors import StoreUnavailable

BUSY_SECONDS = 30
"""How long a writer waits for the one before it."""

Place = tuple[int, int]
"""The device and the inode of a file."""


class LedgerFile:
    """Watches where the file of a database is.

    A connection goes on with a file that was moved or removed, and a new one makes an empty file in its place. Neither
    is the ledger.
    """

    def __init__(self, url: URL) -> None:
        named = url.database if url.database not in {None, "", ":memory:"} and "uri" not in url.query else None
        self.path = None if named is None else Path(str(named))
        self._known = False

    def prepare(self, engine: Engine) -> None:
        """Have an engine's connections keep the file well, and be used only while they are of this file."""
        event.listen(engine, "do_connect", lambda *_: self._check_there())
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "checkout", self._on_checkout)

    def _check_there(self) -> None:
        if self._known:
            self._place()

    def _on_connect(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # The driver shall not begin transactions of its own.
        # WAL: readers never wait for the writer. FULL: what was acknowledged survives a power cut.
        busy = f"busy_timeout={BUSY_SECONDS * 1000}"
        for pragma in (busy, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        record.info["place"], self._known = self._place(), True

    def _on_checkout(self, _connection: object, record: Any, _proxy: object) -> None:
        if record.info.get("place") != self._place():
            raise DisconnectionError("another file is in the place of the ledger's")

    def _place(self) -> Place | None:
        """Return which file is in the ledger's place.

        Raises:
            StoreUnavailable: there is none.
        """
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except FileNotFoundError:
            message = f"the ledger's database does not answer: its file {self.path} is gone; put it back"
            raise StoreUnavailable(message, store="ledger") from None
        return found.st_dev, found.st_ino


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once: taken later, a reader that turns writer would fail instead of waiting.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
