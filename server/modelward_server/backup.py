"""Backup of a server's data, made while servers run."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url

from modelward.errors import DigestMismatch, SchemaMismatch
from modelward_server.settings import Settings
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.incoming_blob import sync_folder
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.private_files import make_private_folder, private_umask
from modelward_server.storage.retention import named_blobs
from modelward_server.storage.verification import is_blob, verify

DUMP = "ledger.dump"


class BackupFailed(Exception):  # noqa: N818 - named for the event
    """A database could not be copied; the message names the cause."""


@dataclass(frozen=True)
class BackedUp:
    """The contents of a backup."""

    databases: tuple[str, ...]
    files: int
    """Number of blobs: files of models, and tables."""
    fresh: int
    """Number of blobs that an earlier backup in the same folder did not have."""


def back_up(settings: Settings, to: Path) -> BackedUp:
    """Copy the ledger, a local MLflow, and all files into a folder; an earlier backup there is updated.

    The order makes the backup consistent under concurrent writes. MLflow comes before the ledger: what it lacks of the
    ledger can be added later, but not removed. Files come last: they are stored before the ledger refers to them, and
    never change.

    Raises:
        BackupFailed: a database could not be copied.
        DigestMismatch: a file is missing or damaged; everything else was copied.
        OSError: a folder cannot be read or written.
    """
    with private_umask():
        return _back_up(settings, to)


def _back_up(settings: Settings, to: Path) -> BackedUp:
    make_private_folder(to)
    databases = []
    if not settings.mlflow_uri and (settings.data_dir / "mlflow.db").exists():
        databases.append(_copy_sqlite(settings.data_dir / "mlflow.db", to / "mlflow.db"))
    databases.append(_copy_ledger(make_url(settings.ledger_url), to))
    fresh, damaged = _copy_blobs(settings.blobs_folder, to / "blobs")
    if not settings.mlflow_uri:
        _copy_tree(settings.data_dir / "mlflow-artifacts", to / "mlflow-artifacts")
    sync_folder(to)
    _check_complete(damaged, _missing(settings))
    return BackedUp(tuple(databases), len(list(_blobs_in(to / "blobs"))), fresh)


def _copy_ledger(url: URL, to: Path) -> str:
    if url.get_backend_name() == "sqlite":
        return _copy_sqlite(Path(url.database or ""), to / "ledger.db")
    return _dump_postgres(url, to / DUMP)


def _copy_sqlite(source: Path, target: Path) -> str:
    """Copy a consistent snapshot of a database in use; an older copy is replaced once the new one is complete."""
    if not source.is_file():
        raise BackupFailed(f"there is no database {source}")
    fresh = _beside(target)
    try:
        with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(fresh)) as theirs:
            ours.backup(theirs)
            _check_sound(theirs, source)
    except sqlite3.Error as error:
        raise BackupFailed(f"{source}: {error}") from error
    return _put(fresh, target)


def _check_sound(copy: sqlite3.Connection, source: Path) -> None:
    """Refuse a damaged database: its pages would be copied unchanged, over an older, intact copy."""
    [(result,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if result != "ok":
        raise BackupFailed(f"{source} is damaged: {result.splitlines()[-1]}; restore a backup")


def _dump_postgres(url: URL, target: Path) -> str:
    """Dump a consistent snapshot with PostgreSQL's pg_dump; the password must not appear in the list of processes."""
    fresh = _beside(target)
    database = url.set(drivername="postgresql", password=None).render_as_string()
    command = ["pg_dump", "--format=custom", f"--file={fresh}", f"--dbname={database}"]
    password = {"PGPASSWORD": url.password} if url.password else {}
    try:
        done = subprocess.run(command, env=os.environ | password, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BackupFailed("the ledger is on PostgreSQL, and its program pg_dump is not installed here") from None
    if done.returncode:
        raise BackupFailed(done.stderr.strip())
    return _put(fresh, target)


def _copy_blobs(source: Path, target: Path) -> tuple[int, dict[Path, str]]:
    """Copy every blob that the target lacks or has damaged; a damaged source blob does not prevent the others.

    Returns:
        the number of copied blobs, and the SHA-256 of each damaged blob in `source`.
    """
    store, fresh, damaged = BlobStore(target), 0, dict[Path, str]()
    for path in _blobs_in(source):
        try:
            fresh += _copy_blob(path, store)
        except DigestMismatch as error:
            damaged[path] = error.metadata["actual"]
    return fresh, damaged


def _copy_blob(path: Path, store: BlobStore) -> bool:
    """Copy a blob unless the target has it, and return whether it did; the source blob is verified in any case."""
    if store.is_whole(path.name, path.stat().st_size):
        verify(path, in_place=True)
        return False
    store.put_blob(path)
    return True


def _missing(settings: Settings) -> set[str]:
    """Return the blobs that the ledger refers to and that the server does not have."""
    ledger, folder, named = Ledger(settings.ledger_url), settings.blobs_folder, set[str]()
    try:
        with suppress(SchemaMismatch), ledger.reading() as session:  # An older schema; the next server migrates it.
            named = named_blobs(session)
    finally:
        ledger.close()
    return {name for name in named if not (folder / name[:2] / name).exists()}


def _check_complete(damaged: Mapping[Path, str], missing: Collection[str]) -> None:
    for path, actual in damaged.items():
        message = f"{path} is damaged, its SHA-256 is {actual or 'another'}; everything else was copied"
        raise DigestMismatch(message, expected=path.name, actual=actual)
    for sha256 in sorted(missing):
        message = f"the server lacks the file {sha256}, and {len(missing) - 1} more; everything else was copied"
        raise DigestMismatch(message, expected=sha256, actual="")


def _blobs_in(folder: Path) -> Iterator[Path]:
    return filter(is_blob, folder.glob("[0-9a-f][0-9a-f]/*"))


def _copy_tree(source: Path, target: Path) -> None:
    """Copy the files of a folder that the target lacks; MLflow does not change files that it has stored."""
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_file() and not (copy.exists() and copy.stat().st_size == path.stat().st_size):
            copy.parent.mkdir(parents=True, exist_ok=True)
            _put(Path(shutil.copyfile(path, _beside(copy))), copy)


def _beside(target: Path) -> Path:
    """Return the temporary path under which a file is written; an unfinished earlier one is removed."""
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    return fresh


def _put(fresh: Path, target: Path) -> str:
    """Rename a file to its final name once it is flushed to disk, and return the name."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(target)
    return target.name
