"""Files that only the server's own user may read: all that it keeps, whatever the operator's umask says."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

log = logging.getLogger(__name__)

UMASK = 0o077
OTHERS = 0o077
"""The permissions of the group and of everybody else."""
OURS = ("ledger.db*", "ledger.dump*", "mlflow.db*", "mlflow-artifacts", "blobs", "spool", "server.log")
"""What the server and its backups keep in a folder."""


@contextmanager
def private_umask() -> Iterator[None]:
    """Let what the process makes in the block be for its user only."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make_private_folder(folder: Path) -> None:
    """Make a folder for the server's user only. One that is there is made so, if it has nothing but what is ours.

    Of a folder with other things in it only ours are taken from others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_open(folder):
        return
    with suppress(OSError):
        found = list(folder.iterdir())
        ours = [path for path in found if any(fnmatch(path.name, name) for name in OURS)]
        _close([path for path in ours if not path.is_symlink()])
        if len(ours) == len(found):
            _close([folder])
    if _is_open(folder):
        log.warning("%s can be read by others than the server's user; chmod 700 it", folder)


def make_private_blobs(folder: Path) -> None:
    """Make the folder of blobs, which has nothing else in it and may be a store that replicas share."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_open(folder):
        _close([folder])
    if _is_open(folder):
        log.warning("%s can be read by others than the server's user; chmod 700 it", folder)


def make_private_file(path: Path) -> None:
    """Make an empty file for the server's user only, unless there is one: what SQLite makes beside it is so too."""
    with suppress(OSError):  # Whoever opens it says what is wrong.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _close(paths: Iterable[Path]) -> None:
    """Take files and whole folders from all others; those of another user stay as they are."""
    for path in paths:
        inner = [Path(root, name) for root, folders, files in os.walk(path) for name in (*folders, *files)]
        for one in (path, *inner):
            with suppress(OSError):
                if not one.is_symlink():
                    one.chmod(one.stat().st_mode & ~OTHERS)


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & OTHERS)
