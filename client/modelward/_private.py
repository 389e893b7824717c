"""Files and folders that only this user may read, and that are whole or absent after a power cut."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from modelward.errors import FieldViolation, InvalidField

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder for this user alone, whatever the umask; folders above it are made alike where they are lacking."""
    if not folder.parent.exists():
        make_private_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(FOLDER_MODE)


def check_trusted(folder: Path) -> None:
    """Check that nobody else can have written what is in a folder.

    Raises:
        InvalidField: it is a file or belongs to another user, or others may write there.
    """
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(folder, "is no folder")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise _refused(folder, f"belongs to user {found.st_uid}")
    if hasattr(os, "geteuid") and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(folder, "may be written by others; chmod go-w it")


def write_private(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or absent, also after a power cut."""
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
    """Make a folder's entries safe from a power cut, where the system can do so."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(folder: Path, problem: str) -> InvalidField:
    return InvalidField(FieldViolation("cache", f"{folder} {problem}, or give another folder: a cache is yours alone"))
