"""What an error of the server's own files means: one table from the system's codes to what callers are told."""

import errno
from collections.abc import Callable

from modelward.errors import LimitReached, ModelwardError, StoreReadOnly, StoreUnavailable
from modelward_server.storage.database_errors import DISK

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room on the disk, in a quota, or for a file of that size."""
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Mounted to be read only, as ext4 does by itself after an error; or not the server's to write."""
AWAY = {
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.EREMOTEIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EHOSTDOWN,
    errno.ENOLINK,
}
"""The disk fails, was taken away, or is a share whose server does not answer."""
TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}

FILES = "files"
"""What the server's own files are called where a store is named."""


def _disk_full(_: str) -> ModelwardError:
    return LimitReached("the server's disk is full; make room there and ask again", limit=DISK)


def _read_only(words: str) -> ModelwardError:
    said = f"the server's files take no changes: {words}; its operator must make their disk or folder writable"
    return StoreReadOnly(said, store=FILES)


def _away(words: str) -> ModelwardError:
    return StoreUnavailable(f"the server's disk does not answer: {words}; its operator must look at it", store=FILES)


def _too_many_open(words: str) -> ModelwardError:
    return LimitReached(f"the server has too many files and connections open: {words}; come again", limit="open_files")


TOLD: dict[int, Callable[[str], ModelwardError]] = {
    **dict.fromkeys(DISK_FULL, _disk_full),
    **dict.fromkeys(READ_ONLY, _read_only),
    **dict.fromkeys(AWAY, _away),
    **dict.fromkeys(TOO_MANY_OPEN, _too_many_open),
}


def explain(error: OSError) -> ModelwardError | None:
    """Return what a caller is told, without the paths of the server; None for a defect of the server."""
    told = TOLD.get(error.errno or 0)
    return told(error.strerror or "") if told else None
