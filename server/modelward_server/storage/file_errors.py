"""Translation of errors of the server's own files: one table from `errno` codes to the errors that clients receive."""

import errno
from collections.abc import Callable

from modelward.errors import LimitReached, ModelwardError, StoreReadOnly, StoreUnavailable
from modelward_server.storage.database_errors import DISK

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No space left on the disk or in a quota, or a file of that size is not supported."""
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Mounted read-only, as ext4 is remounted after an error; or the server lacks write permission."""
UNAVAILABLE = {
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
"""The disk fails or was removed, or is a share whose server does not answer."""
TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}

FILES = "files"
"""The name of the server's own files in errors that name a store."""


def _disk_full(_: str) -> ModelwardError:
    return LimitReached("the server's disk is full; free space there and retry", limit=DISK)


def _read_only(words: str) -> ModelwardError:
    message = f"the server's files are read-only: {words}; its operator must make their disk or folder writable"
    return StoreReadOnly(message, store=FILES)


def _unavailable(words: str) -> ModelwardError:
    return StoreUnavailable(f"the server's disk does not answer: {words}; its operator must check it", store=FILES)


def _too_many_open(words: str) -> ModelwardError:
    return LimitReached(f"the server has too many files and connections open: {words}; retry later", limit="open_files")


BY_ERRNO: dict[int, Callable[[str], ModelwardError]] = {
    **dict.fromkeys(DISK_FULL, _disk_full),
    **dict.fromkeys(READ_ONLY, _read_only),
    **dict.fromkeys(UNAVAILABLE, _unavailable),
    **dict.fromkeys(TOO_MANY_OPEN, _too_many_open),
}


def explain(error: OSError) -> ModelwardError | None:
    """Return the error to report to a client, without the server's paths; None for a defect of the server."""
    make_error = BY_ERRNO.get(error.errno or 0)
    return make_error(error.strerror or "") if make_error else None
