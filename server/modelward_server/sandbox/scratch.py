"""The folder of this server in which each job of a model has one of its own, and who may read that."""

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
"""A younger folder may be that of a server which is about to hold it."""
FIRST_USER, USERS = 61184, 4096
"""Ids for users that exist only while a process runs, as systemd gives them out; nothing else belongs to them."""
_users = count(os.getpid())


@cache
def scratch() -> Path:
    """Return the folder, made when it is first asked for; what servers left that were killed is removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_unused(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)  # Models' users pass through it to their own.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)  # Held until this process ends.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_unused(folder: Path) -> None:
    """Remove a folder of this user that no process holds.

    Raises:
        OSError: one does, or it cannot be looked into.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(held)
        if found.st_uid == os.geteuid() and time.time() - found.st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder)
    finally:
        os.close(held)


@contextmanager
def job_folder() -> Iterator[Path]:
    """Give a folder for one job, which goes with the block."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        yield Path(name)


def next_user() -> int:
    """Return the id of the user and group for a job, other than those of the jobs before it."""
    return FIRST_USER + next(_users) % USERS


def share(folder: Path, user: int) -> None:
    """Let a group read a folder of ours with its files, and nobody else; the umask lets only us."""
    for path in (folder, *folder.iterdir()):
        os.chown(path, -1, user)
        path.chmod(0o750 if path.is_dir() else 0o640)
