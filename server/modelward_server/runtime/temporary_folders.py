"""Temporary folders of a process: removed when it ends, and when it was killed, by the next one that starts."""

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path

FILES = "modelward-files-"
"""Prefix of the folder for files that are received or fetched; sandboxes have one of their own."""
UNUSED_SECONDS = 5
"""A younger folder may belong to a process that is about to lock it."""


@cache
def process_folder(prefix: str) -> Path:
    """Return a folder of this process, created on first use; those that killed processes left behind are removed."""
    remove_leftovers(Path(tempfile.gettempdir()), prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _lock(folder)  # Until this process ends.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for files that are received or fetched, removed with its block."""
    return tempfile.TemporaryDirectory(dir=process_folder(FILES))


@contextmanager
def locked_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in another one, removed with the block; see `remove_leftovers`."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name:
        descriptor = _lock(Path(name))
        try:
            yield Path(name)
        finally:
            os.close(descriptor)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the folders with a prefix, made by the functions above, whose processes have ended."""
    for leftover in parent.glob(f"{escape(prefix)}*"):
        with suppress(OSError):
            _remove_unused(leftover)


def _lock(folder: Path) -> int:
    """Mark a folder as in use until the returned descriptor is closed, also by the end of the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


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
