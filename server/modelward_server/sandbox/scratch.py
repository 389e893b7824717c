"""Temporary folders for the jobs of models, one for each job, and their permissions."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from modelward_server.runtime.temporary_folders import process_folder

PREFIX = "modelward-sandbox-"
FIRST_USER, USERS = 61184, 4096
"""User ids that exist only while a process runs, from systemd's range for dynamic users; nothing else has them."""
_users = count(os.getpid())


@cache
def scratch() -> Path:
    """Return the root folder, created on first use."""
    folder = process_folder(PREFIX)
    folder.chmod(0o711)  # Models' users pass through it to their own.
    return folder


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
