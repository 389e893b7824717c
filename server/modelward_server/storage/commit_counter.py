"""Tells whether anything was committed to an SQLite file, by any process, without waiting for anybody."""

import sqlite3
from contextlib import suppress

from modelward_server.storage.sqlite import FileId, LedgerFile

State = tuple[FileId, int, int]
"""The file, how often it was opened, and the count of its commits."""


class CommitCounter:
    """Counts the commits of others to a file; used by one thread."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._opened: FileId | None = None
        self._times = 0

    def state(self) -> State | None:
        """Return a value that differs after each commit; None if it cannot be told at once."""
        there = self._file.file_id()
        if there is None:
            return None
        try:
            if self._connection is None or there != self._opened:
                self._open(there)
            assert self._connection is not None
            [count] = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:  # Locked, for example while a backup is put back; whoever reads then waits or fails.
            self.close()
            return None
        return there, self._times, count

    def _open(self, there: FileId) -> None:
        self.close()
        # It is closed by the thread that stops the server.
        self._connection = self._file.connect(timeout=0, isolation_level=None, check_same_thread=False)
        self._opened, self._times = there, self._times + 1

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
