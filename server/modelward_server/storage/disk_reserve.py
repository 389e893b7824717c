"""Space on the ledger's disk that only urgent changes may use: a full disk must not keep a model from being halted."""

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
"""How large it is, on a disk that is not small."""
DISK_SHARE = 8
"""Which part of a small disk it is: one of so many."""
STEP_BYTES = 256 << 10
"""How much is given back at a time: a halt takes a fifth of it, and others would take the rest."""
REFILL_SECONDS = 10.0
"""How often it is looked whether there is room again."""


class Reserve:
    """A file that takes up space until an urgent change needs it; several processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_at = -REFILL_SECONDS

    def release(self) -> int:
        """Give back one step, and return how many bytes that is; 0 when nothing is left."""
        with suppress(OSError), self._opened() as file:
            held = _size(file)
            os.ftruncate(file.fileno(), max(0, held - STEP_BYTES))
            os.fsync(file.fileno())  # Else some file systems keep the space for a while.
            log.warning("the ledger's disk is full; an urgent change takes from its reserve of %d KiB", held >> 10)
            return held - _size(file)
        return 0

    def refill(self) -> None:
        """Take what is missing, as far as there is room; looks only now and then."""
        now = time.monotonic()
        if now - self._looked_at >= REFILL_SECONDS:
            self._looked_at = now
            self.take(RESERVE_BYTES, 0.5)

    def take(self, most: int, share: float = 1.0) -> None:
        """Take at most so many bytes, and at most that share of what is free."""
        with suppress(OSError), self._opened() as file:
            disk, held = os.fstatvfs(file.fileno()), _size(file)
            wanted = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // DISK_SHARE)
            more = min(most, wanted - held, int(disk.f_bavail * disk.f_frsize * share))
            if more > 0:
                os.posix_fallocate(file.fileno(), held, more)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the file, for one at a time."""
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
