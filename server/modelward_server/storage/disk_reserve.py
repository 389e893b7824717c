"""Disk space reserved for urgent changes to the ledger: a full disk must not prevent halting a model."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

RESERVE_BYTES = 16 << 20
"""Size of the reserve, except on a small disk."""
DISK_SHARE = 8
"""Divisor of the disk's size that gives the reserve on a small disk."""
STEP_BYTES = 256 << 10
"""Bytes released at a time: a halt takes a fifth of it, and other writers would take the rest."""
REFILL_SECONDS = 10.0
"""Minimum interval between checks for free space."""


class DiskReserve:
    """A file that occupies space until an urgent change needs it; several processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checked_at = -REFILL_SECONDS

    def release(self) -> int:
        """Release one step, and return its size in bytes; 0 when nothing is left."""
        with suppress(OSError), self._locked() as file:
            size = _size(file)
            os.ftruncate(file.fileno(), max(0, size - STEP_BYTES))
            os.fsync(file.fileno())  # Otherwise some file systems free the space only later.
            log.warning("the ledger's disk is full; an urgent change takes from its reserve of %d KiB", size >> 10)
            return size - _size(file)
        return 0

    def refill(self) -> None:
        """Grow the file back to its full size as far as space allows; checks at most every `REFILL_SECONDS`."""
        now = time.monotonic()
        if now - self._checked_at >= REFILL_SECONDS:
            self._checked_at = now
            self.fill(RESERVE_BYTES, 0.5)

    def fill(self, max_bytes: int, share: float = 1.0) -> None:
        """Grow the file by at most `max_bytes`, and by at most `share` of the free space."""
        with suppress(OSError), self._locked() as file:
            disk, size = os.fstatvfs(file.fileno()), _size(file)
            full_size = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // DISK_SHARE)
            more = min(max_bytes, full_size - size, int(disk.f_bavail * disk.f_frsize * share))
            if more > 0:
                os.posix_fallocate(file.fileno(), size, more)

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """Open the file under an exclusive lock."""
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
