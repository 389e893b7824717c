"""Disk cache of followed versions: files by digest, and for each model the last good version.

The cache is private to the user, and its contents are always verified: files each time a version is taken from it, and
a record of the last good version is valid only when it is complete, belongs to this model, stage and server, and all of
its files are present.
"""

import hashlib
import logging
import os
from pathlib import Path

from google.protobuf.message import DecodeError

from modelward._private import FOLDER_MODE, check_trusted, make_private_folder, sync_folder, write_private
from modelward._transfers import holds, inside
from modelward.errors import ModelwardError
from modelward.lifecycle import ModelVersion
from modelward.shared.convert.lifecycle import version_from_proto, version_to_proto
from modelward.shared.manifest import check_manifest
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

MAGIC = b"modelward last good version 1\n"
"""The header of a record; followed by a SHA-256 over key and content, and the content."""
DIGEST_BYTES = 32


class Cache:
    """Disk cache of versions.

    Args:
        folder: its location; None means `modelward` in the user's cache folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or _home() / "modelward"
        self._artifacts = self._folder / "artifacts"
        self._last_good = self._folder / "last-good"

    def open(self) -> None:
        """Create the cache, or check that an existing one can be trusted. Call this before any other method.

        Raises:
            InvalidField: the cache, or a folder in it, belongs to another user, or is writable by others.
        """
        make_private_folder(self._folder)
        check_trusted(self._folder)
        for folder in (self._artifacts, self._last_good):
            make_private_folder(folder)
            check_trusted(folder)
            folder.chmod(FOLDER_MODE)

    def artifact(self, version: ModelVersion) -> Path:
        """Return the folder for the files of a version; versions with the same files share it.

        Raises:
            InvalidField, DigestMismatch: the version's manifest is invalid.
        """
        check_manifest(version)
        folder = self._artifacts / version.digest
        make_private_folder(folder)
        sync_folder(self._artifacts)
        return folder

    def remember(self, key: str, version: ModelVersion) -> None:
        """Record a version as the last good one. A full disk does not stop the follower."""
        content = version_to_proto(version).SerializeToString()
        try:
            write_private(self._record(key), MAGIC + _checksum(key, content) + content)
        except OSError as error:
            log.warning("%s is used, but could not be recorded as the last good version: %s", version, error)

    def forget(self, key: str) -> None:
        """Remove the record of the last good version, which may not be used any more."""
        try:
            self._record(key).unlink(missing_ok=True)
        except OSError as error:
            log.warning("a record of a last good version could not be removed: %s", error)

    def last_good(self, key: str, model: str) -> ModelVersion | None:
        """Return the last good version, if its record and all of its files are intact."""
        path = self._record(key)
        if not path.exists():
            return None
        try:
            return self._checked(_read(key, path.read_bytes()), model)
        except (OSError, ValueError, DecodeError, ModelwardError) as error:
            log.warning("the last good version in %s is ignored: %s", path, error)
            return None

    def _checked(self, version: ModelVersion, model: str) -> ModelVersion:
        folder = self.artifact(version)
        if version.model != model:
            raise ValueError(f"the record is of {version!r}, but {model!r} is followed")
        if not all(holds(inside(folder, file.path), file) for file in version.files):
            raise ValueError(f"files of {version} are missing or damaged")
        return version

    def _record(self, key: str) -> Path:
        return self._last_good / hashlib.sha256(key.encode()).hexdigest()


def as_cache(folder: Path | str | None) -> Cache:
    """Return the cache in a folder; None means the default folder."""
    return Cache(None if folder is None else Path(folder))


def _read(key: str, record: bytes) -> ModelVersion:
    content = record[len(MAGIC) + DIGEST_BYTES :]
    if record != MAGIC + _checksum(key, content) + content:
        raise ValueError("the record is incomplete, or not of this model, stage and server")
    return version_from_proto(pb.ModelVersion.FromString(content))


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + content).digest()


def _home() -> Path:
    """Return the user's cache folder; a relative one is ignored, as the XDG specification requires."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"
