"""Files that only the server's own user may read: everything it stores, whatever the operator's umask is."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

log = logging.getLogger(__name__)

UMASK = 0o077
OTHERS = 0o077
"""The permissions of the group and of all others."""
OURS = ("ledger.db*", "ledger.dump*", "mlflow.db*", "mlflow-artifacts", "blobs", "spool", "server.log")
"""Names of the files that the server and its backups store in a folder."""


@contextmanager
def private_umask() -> Iterator[None]:
    """Create files in the block with permissions for the process's user only."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make_private_folder(folder: Path) -> None:
    """Create a folder for the server's user only. An existing one is restricted, if it has only the server's files.

    In a folder with other files, only the server's own files are restricted.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_shared(folder):
        return
    with suppress(OSError):
        entries = list(folder.iterdir())
        ours = [path for path in entries if any(fnmatch(path.name, name) for name in OURS)]
        _restrict([path for path in ours if not path.is_symlink()])
        if len(ours) == len(entries):
            _restrict([folder])
    if _is_shared(folder):
        log.warning("%s can be read by other users than the server's; chmod 700 it", folder)


def make_private_blobs(folder: Path) -> None:
    """Create the folder of blobs, which holds nothing else and may be storage that replicas share."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_shared(folder):
        _restrict([folder])
    if _is_shared(folder):
        log.warning("%s can be read by other users than the server's; chmod 700 it", folder)


def make_private_file(path: Path) -> None:
    """Create an empty file for the server's user only, unless it exists; SQLite's auxiliary files inherit its mode."""
    with suppress(OSError):  # Opening the file reports the problem.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _restrict(paths: Iterable[Path]) -> None:
    """Remove other users' permissions from files and whole folders; those of another owner are skipped."""
    for path in paths:
        inner = [Path(root, name) for root, folders, files in os.walk(path) for name in (*folders, *files)]
        for one in (path, *inner):
            with suppress(OSError):
                if not one.is_symlink():
                    one.chmod(one.stat().st_mode & ~OTHERS)


def _is_shared(path: Path) -> bool:
    return bool(path.stat().st_mode & OTHERS)
