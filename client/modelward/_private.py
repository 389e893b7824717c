"""Private files and folders that are complete or absent after a power failure."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from modelward.errors import FieldViolation, InvalidField

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Create a folder for this user only, whatever the umask; missing parent folders are created likewise."""
    if not folder.parent.exists():
        make_private_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(FOLDER_MODE)


def check_trusted(folder: Path) -> None:
    """Check that no other user can have written the contents of a folder.

    Raises:
        InvalidField: it is a file, belongs to another user, or is writable by others.
    """
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(folder, "is not a folder")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise _refused(folder, f"belongs to user {status.st_uid}")
    if hasattr(os, "geteuid") and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(folder, "is writable by others; run chmod go-w on it")


def write_private(path: Path, content: bytes) -> None:
    """Write a file atomically: it is complete or absent, also after a power failure."""
    with NamedTemporaryFile(dir=path.parent, delete=False) as file:
        written = Path(file.name)
        try:
            written.chmod(FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            written.unlink()
            raise
    written.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(folder: Path, problem: str) -> InvalidField:
    return InvalidField(FieldViolation("cache", f"{folder} {problem}, or give another folder: a cache must be private"))
