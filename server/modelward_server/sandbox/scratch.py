"""Temporary folders for the jobs of models, one for each job, and their permissions."""

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

PREFIX = "modelward-sandbox-"
UNUSED_SECONDS = 60
"""A younger folder may belong to a server that is about to lock it."""
FIRST_USER, USERS = 61184, 4096
"""User ids that exist only while a process runs, from systemd's range for dynamic users; nothing else has them."""
_users = count(os.getpid())


@cache
def scratch() -> Path:
    """Return the root folder, created on first use; folders left behind by killed servers are removed."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_unused(leftover)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)  # Models' users pass through it to their own.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)  # Held until this process ends.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_unused(folder: Path) -> None:
    """Remove a folder of this user that no process has locked.

    Raises:
        OSError: a process has, or it cannot be inspected.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


@contextmanager
def job_folder() -> Iterator[Path]:
    """Yield a folder for one job, removed with the block."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        yield Path(name)


def next_user() -> int:
    """Return the user and group id for a job, different from those of the jobs before it."""
    return FIRST_USER + next(_users) % USERS


def share(folder: Path, user: int) -> None:
    """Let a group read a folder of ours with its files, and no other user; by the umask only we can."""
    for path in (folder, *folder.iterdir()):
        os.chown(path, -1, user)
        path.chmod(0o750 if path.is_dir() else 0o640)
